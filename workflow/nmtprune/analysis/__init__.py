"""Analyses of one model, a module each: `analyse(config, chain)` returns numbers and arrays."""
