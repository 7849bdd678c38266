"""What rates alone do not say: that two texts differ in their writing and not in their words."""
