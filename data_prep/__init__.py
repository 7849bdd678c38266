"""A corpus on disk -> validated Lhotse manifests."""
