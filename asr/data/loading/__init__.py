"""How what worker processes read reaches the training."""
