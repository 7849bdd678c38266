"""Pretrained models that keep their decoder: Whisper and its kin."""
