"""Several runs in one: a search over settings, several seeds."""
