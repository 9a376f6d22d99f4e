"""Corpora: download, clean, split into subwords, and binarise; the toy language; probing examples."""
