"""Machines that can be named: their peak figures, each with its source."""

from functools import cache
from importlib.resources import files

import yaml

from danlu.errors import DanluError, nearest
from danlu.settings import Settings

NODE = 8  # devices that share the fast links


class Machine(Settings):
    """memory in GB; bandwidth of it in TB/s; bf16 and float32, dense products, in TFLOP/s; link in GB/s, one way."""

    memory: float
    bandwidth: float
    bf16: float
    float32: float
    link: float
    source: str

    def peak(self, half: bool) -> float:
        """Floating-point operations a second."""
        return 1e12 * (self.bf16 if half and self.bf16 else self.float32)


@cache
def machines() -> dict[str, Machine]:
    """By name."""
    text = files("danlu.recipes.estimating").joinpath("machines.yaml").read_text(encoding="utf8")
    return {name: Machine(**facts) for name, facts in yaml.safe_load(text).items()}


def find_machine(name: str) -> Machine:
    """E2112 where there is none of that name."""
    known, plain = machines(), name.lower().replace("_", "-").replace(" ", "-")
    if plain not in known:
        raise DanluError("E2112", found=name, possible=list(known), nearest=nearest(plain, known))
    return known[plain]


def on_name(device: str) -> Machine | None:
    """The machine behind the name that a driver gives a device, if it is in the table: the longest name that fits."""
    plain = device.lower().replace("-", " ")
    fitting = [name for name in machines() if all(word in plain.split() for word in name.split("-"))]
    return machines()[max(fitting, key=len)] if fitting else None
