"""Before training: data and tokenizers."""
