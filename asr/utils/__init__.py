"""Atomic files, locks, plug-ins, seeds. No speech in here."""
