"""A run before and while it runs: its jobs, checks, cost, room, state and what can be freed."""
