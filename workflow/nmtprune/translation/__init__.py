"""Models that translate: the engines, their batches, shortlists and 8 bits, and what teachers write for
students.
"""
