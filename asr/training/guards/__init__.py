"""What is watched while a run trains, and said or done before hours are lost."""
