"""Corpora as other toolkits describe them."""
