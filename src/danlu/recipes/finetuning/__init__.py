"""From a model and rows with answers to a model that gives them."""
