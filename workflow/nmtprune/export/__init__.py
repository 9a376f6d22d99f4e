"""How a model leaves: chosen, written into a folder, and translating there without nmtprune."""
