"""What is asked for: chains, recipes, tasks, presets, papers and paths. No PyTorch, and nothing from disk but
YAML and CSV.
"""
