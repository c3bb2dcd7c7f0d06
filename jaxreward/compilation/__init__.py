"""XLA's switches, and the cache of compiled programs."""
