"""The speech of the adventure game Flight of the Amazon Queen: container, dialogue, texts, corpus."""
