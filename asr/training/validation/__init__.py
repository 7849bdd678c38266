"""What checkpoints are compared by: dev speech, heard by student and average as the objective judges them."""
