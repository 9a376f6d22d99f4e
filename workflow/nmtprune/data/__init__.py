"""Corpora: download, clean, split into subwords, binarise."""
