"""Commands that begin with a run that is there, and what they have in common."""
