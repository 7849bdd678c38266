"""Processes, the DeepSpeed engine, and who owns which weights."""
