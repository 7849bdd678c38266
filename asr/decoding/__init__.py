"""Logits -> text, words with times, captions."""
