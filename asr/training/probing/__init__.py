"""What frozen features are good for: a linear CTC layer, trained on them for a stated number of updates."""
