"""What neural machine translation models do not need: four papers on pruning as one workflow over fairseq."""

__version__ = "0.1.0"
