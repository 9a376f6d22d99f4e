"""The only place that imports fairseq. Import fairseq through `nmtprune.fairseq_bridge.shim`, never
directly.
"""

TOOLS = (
    "eval-lm",
    "generate",
    "interactive",
    "preprocess",
    "score",
    "train",
    "validate",
)  # of fairseq, by hand (`tools`)
