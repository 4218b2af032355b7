"""What a START word means, and the model that training begins with."""
