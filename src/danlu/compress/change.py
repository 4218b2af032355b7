"""Compressing changes: each a group of settings with `apply(model, calibration, voice, seed)` that gives the model.

They are plain data in `danlu.json` (what was done), while `shapes` says what stands. What needs to be trained, healing
and distilling, is a step of `recipes.compressing`.
"""

from typing import Annotated

from pydantic import Field

from danlu.compress.factorize import Factorize
from danlu.compress.prune import Prune
from danlu.compress.quantize import Quantize

Change = Annotated[Prune | Factorize | Quantize, Field(discriminator="kind")]
