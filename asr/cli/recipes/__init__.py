"""Commands about recipes themselves: those that come with the package, and their schema."""
