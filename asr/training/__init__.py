"""The training loop: step, validation, checkpoint, resume."""
