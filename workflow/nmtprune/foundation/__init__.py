"""Errors, files, escaping, versions and printed commands: what every layer above uses."""
