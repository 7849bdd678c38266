"""The scaling rule and the audio clock: the only place where kappa is applied. No torch."""
