"""Language models that see: from pictures, questions and captions to a model that answers."""
