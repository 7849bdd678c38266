"""What is done to the student's waveforms: rooms, noise, bands, codecs, volume; each drawn for an utterance."""
