"""How fast models translate, measured side by side."""
