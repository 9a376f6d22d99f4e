"""Measurements as numbers that tables, figures and claims share. Nothing is drawn here."""
