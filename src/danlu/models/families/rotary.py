"""Rotary positions as config.json tells of them: `rope_theta` and `rope_scaling`, or `rope_parameters` since 2025."""

from typing import Any

from danlu.errors import DanluError
from danlu.models.families.family import Hf
from danlu.nn.positions import RotaryPositions, RotaryScaling


def read_rotary(hf: Hf, *, length: int, base: float, pairs: Any = "halves") -> RotaryPositions:
    """length, base: what the published class assumes where the file says nothing. E1407 for other kinds of scaling."""
    rope = dict(hf.get("rope_scaling") or {}) | dict(hf.get("rope_parameters") or {})
    kind = rope.get("rope_type", rope.get("type", "default"))
    scaling = None
    if kind == "linear":
        scaling = RotaryScaling(kind="linear", factor=rope["factor"])
    elif kind == "llama3":
        scaling = RotaryScaling(
            kind="llama3", factor=rope["factor"], low=rope["low_freq_factor"], high=rope["high_freq_factor"],
            original=rope["original_max_position_embeddings"],
        )  # fmt: skip
    elif kind != "default":
        raise DanluError("E1407", name="rope_type", found=kind, possible=["default", "linear", "llama3"])
    if rope.get("partial_rotary_factor", hf.get("partial_rotary_factor", 1.0)) != 1.0:
        raise DanluError("E1407", name="partial_rotary_factor", found=rope.get("partial_rotary_factor"), possible=1.0)
    return RotaryPositions(
        length=hf.get("max_position_embeddings", length),
        base=rope.get("rope_theta", hf.get("rope_theta", base)),
        pairs=pairs,
        scaling=scaling,
    )


def write_rotary(positions: Any) -> dict[str, Any]:
    """Both ways of saying it, for readers of either age."""
    if not isinstance(positions, RotaryPositions):
        raise ValueError("positions")
    rope: dict[str, Any] = {"rope_type": "default"}
    if scaling := positions.scaling:
        rope = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind == "llama3":
            rope |= {
                "low_freq_factor": scaling.low, "high_freq_factor": scaling.high,
                "original_max_position_embeddings": scaling.original,
            }  # fmt: skip
    return {
        "max_position_embeddings": positions.length,
        "rope_theta": positions.base,
        "rope_scaling": rope if positions.scaling else None,
        "rope_parameters": rope | {"rope_theta": positions.base},
    }
