"""The only folder that imports fairseq; each module imports `shim` before fairseq."""

# fairseq's command-line tools that `python -m nmtprune fairseq` runs (see `tools`).
TOOLS = ("eval-lm", "generate", "interactive", "preprocess", "score", "train", "validate")
