"""Pseudo-labels: whose weights write them, when, how they are decided, filtered, kept and watched."""
