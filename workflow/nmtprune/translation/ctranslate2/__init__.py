"""Transformers by CTranslate2."""
