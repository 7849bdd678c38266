"""The recipe's schema, and how YAML becomes it. No torch."""
