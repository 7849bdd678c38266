"""Features or waveforms -> hidden states: an encoder a file, behind one protocol."""
