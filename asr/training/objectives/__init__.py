"""What the student is trained for: texts, or the average's view of the same speech."""
