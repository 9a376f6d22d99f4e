"""Analyses of one model, one module each: `analyse(config, chain)` returns numbers and arrays."""
