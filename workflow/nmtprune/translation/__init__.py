"""Models that translate: engines, batches, shortlists, 8-bit weights, and distillation."""
