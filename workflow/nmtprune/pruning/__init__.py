"""Which weights go: weight classes, schemes and masks. Pure tensor code."""
