"""The only place that imports fairseq. Import fairseq through `nmtprune.toolkit.shim`, never directly."""
