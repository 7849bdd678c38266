"""Weights of pretrained models from where package registries have them, read as data."""
