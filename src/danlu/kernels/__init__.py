"""Products with weights that are codes: in C where a compiler built it, in torch elsewhere, with the same numbers."""

from danlu.kernels.layout import Coded, pack, stored_bits, unpack
from danlu.kernels.library import Native, native, status
from danlu.kernels.products import ACTIVATIONS, dense, linear

__all__ = ["ACTIVATIONS", "Coded", "Native", "dense", "linear", "native", "pack", "status", "stored_bits", "unpack"]
