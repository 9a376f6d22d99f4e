"""How a model leaves the workflow: chosen, and written as a folder that translates without nmtprune."""
