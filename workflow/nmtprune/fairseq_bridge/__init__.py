"""The only folder that imports fairseq; each module imports `shim` before fairseq."""

# The command-line tools of fairseq that `nmtprune fairseq` runs (see `tools`).
TOOLS = ("eval-lm", "generate", "interactive", "preprocess", "score", "train", "validate")
