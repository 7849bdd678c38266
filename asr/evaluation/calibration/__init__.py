"""From how sure a recogniser is to how often it is wrong."""
