"""Training: schedules, masks, selection, state and resume."""
