"""Audio in an object store: addresses, reading with patience, a cache on the local disk."""
