"""Long recordings with a rough transcript each, to pieces of which the text is trusted, and the rest."""
