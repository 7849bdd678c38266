"""A network that predicts representations of speech, and what is predicted: no text is in here."""
