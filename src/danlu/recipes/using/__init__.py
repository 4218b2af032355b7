"""A finished model: talk to it, merge it, convert it."""
