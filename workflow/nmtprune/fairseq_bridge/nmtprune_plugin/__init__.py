"""`--user-dir` of fairseq's own tools: importing this folder registers our architectures and our
criterion.
"""

from nmtprune.fairseq_bridge import loss, lstm, student  # noqa: F401
