"""All that a checkpoint needs to turn audio into logits, and text into tokens."""
