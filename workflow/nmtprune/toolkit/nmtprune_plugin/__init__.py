"""`--user-dir` of fairseq's own tools: importing this folder registers our architectures and our criterion."""

from nmtprune.toolkit import loss, lstm, student  # noqa: F401
