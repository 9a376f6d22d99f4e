"""Scores of models: hypotheses, BLEU and chrF, perplexity, COMET, significance and size."""
