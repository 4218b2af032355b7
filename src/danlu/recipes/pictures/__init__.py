"""Verbs, where the model sees pictures."""
