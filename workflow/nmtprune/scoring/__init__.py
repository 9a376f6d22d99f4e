"""Scores of one model: hypotheses, BLEU and chrF, perplexity, significance, size."""
