"""Prepared manifests -> one deterministic stream of audio -> this rank's micro-batches."""
