"""Recordings of any length -> utterances: where speech is, and where to cut."""
