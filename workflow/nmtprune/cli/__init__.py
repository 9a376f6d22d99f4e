"""The command line: one function for each verb, the modules that jobs import, and shell completion."""
