"""Corpora: a file each, from what lies on the disk to a listing of its utterances."""
