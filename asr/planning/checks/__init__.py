"""All that would stop or spoil a run, each with its remedy."""
