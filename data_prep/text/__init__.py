"""What is done to the texts of a corpus, and what is said of them."""
