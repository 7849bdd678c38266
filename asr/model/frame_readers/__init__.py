"""CTC models, whoever made them, as what reads frames: for alignment."""
