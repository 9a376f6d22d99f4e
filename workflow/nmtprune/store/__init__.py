"""What is on disk, whole and current: state, locks, manifests, checkpoints, models and units."""
