"""Where a job computes: forks of a warm process, devices, workers, and what a job has cost."""
