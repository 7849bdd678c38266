"""Whose weights label: the average, the student, a frozen copy, the mean of the best; and their snapshots."""
