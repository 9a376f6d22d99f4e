"""A run before it begins and while it runs: jobs, checks, cost, disk space, status, and what can be freed."""
