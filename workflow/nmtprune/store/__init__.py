"""What is there, and whole: states, locks, manifests, checkpoints, models, units, and what is current."""
