"""What is asked for: chains, recipes, tasks, presets, papers and paths; without PyTorch.

Nothing is read from disk but YAML, CSV and the JSON schemas.
"""
