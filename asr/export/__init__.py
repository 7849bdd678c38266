"""A trained model -> a folder that other software loads: ONNX, Hugging Face's layout, a torch program."""
