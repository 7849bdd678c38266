"""What a run begins with: the weights of another run, and hours that a recipe wrote as passes."""
