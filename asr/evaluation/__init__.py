"""Texts in; error rates, intervals and tests out. No torch."""
