"""Prepared sets as Lhotse Shar: packed, and sent to an object store."""
