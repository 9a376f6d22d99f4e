"""Plug-in for fairseq's `--user-dir`: importing it registers our architectures and our criterion."""

from nmtprune.fairseq_bridge import loss, lstm, student  # noqa: F401
