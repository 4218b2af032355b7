"""Danlu (丹炉): pretrain, fine-tune or prompt, compress and deploy small models."""

__version__ = "0.1.0"
