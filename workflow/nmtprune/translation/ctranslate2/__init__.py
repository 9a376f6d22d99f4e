"""Run Transformers in CTranslate2."""
