"""What every rank must know of the labels of all, as tensors that are added up."""
