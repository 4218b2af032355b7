"""Quantising: a stub that the real thing replaces."""

from typing import Literal

from danlu.compress.calibration import Calibration
from danlu.models.build import Model
from danlu.settings import Settings
from danlu.voice import Voice


class Quantize(Settings):
    kind: Literal["quantize"] = "quantize"

    def apply(
        self, model: Model, calibration: Calibration | None = None, voice: Voice | None = None, seed: int = 0
    ) -> Model:
        raise NotImplementedError
