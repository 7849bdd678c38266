"""How checkpoints come and go: published by one rename, pruned by their line of descent."""
