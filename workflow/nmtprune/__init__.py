"""nmtprune: what does a neural machine translation model not need, what does removing it cost, what does it
buy?
"""

__version__ = "0.1.0"
