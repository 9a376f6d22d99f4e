"""The command line: verbs, what jobs import, completion."""
