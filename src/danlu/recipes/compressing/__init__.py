"""`danlu compress`: a method, a chain of them, or a budget."""
