"""What the benchmarks of compressing share: models to compress, and what compressing them came to."""

import json
from pathlib import Path
from typing import Any

import danlu
from benchmarks.answer import SHARED

SST2 = SHARED / "data" / "sst2"
TEXTS = [
    SHARED / "data" / "wikitext2" / "valid.txt.gz",
    *sorted((SHARED / "data" / "gutenberg_austen").glob("*.txt.gz")),
]
GPT: dict[str, Any] = {
    "model": {"width": 256, "depth": 6, "heads": 4, "length": 256}, "tokenizer": {"kind": "bpe", "vocabulary": 6000},
    "data": {"length": 256}, "train": {"batch": 32}, "samples": {"count": 1},
}  # fmt: skip


def classifier(folder: Path, epochs: float) -> Path:
    """all-MiniLM-L6-v2, fine-tuned on SST-2; what is there already is taken."""
    place = folder / "sst2"
    if not (place / "README.md").is_file():
        danlu.finetune("minilm", SST2, output=place, train={"epochs": epochs}, quiet=True)
    return place


def gpt(folder: Path, steps: int) -> Path:
    """A GPT of 6 layers trained here, on text whose held-out part it is measured on."""
    place = folder / "gpt"
    if not (place / "README.md").is_file():
        danlu.pretrain("gpt-mini", TEXTS, output=place, quiet=True,
                       **GPT | {"train": GPT["train"] | {"steps": steps}})  # fmt: skip
    return place


def compressed(start: Path, name: str, **settings: Any) -> dict[str, Any]:
    """compression.json of a run beside the start; what is there already is taken."""
    place = start.parent / name
    if not (place / "README.md").is_file():
        danlu.call("compress", start, output=place, quiet=True, **settings)
    found: dict[str, Any] = json.loads((place / "compression.json").read_text(encoding="utf8"))
    return found


def value(found: dict[str, Any]) -> float:
    """Quality on the test part."""
    return float(found["test"]["quality"]["value"])


def before(found: dict[str, Any]) -> float:
    return float(found["test"]["original"]["value"])


def faster(found: dict[str, Any], threads: int = 1) -> float:
    """How many times as fast as the original, for one row, by low quantiles."""
    times = found["latency"]
    own, other = (next(each["low"] for each in times[name] if each["threads"] == threads)
                  for name in ("original", "compressed"))  # fmt: skip
    return float(own / other)


def smaller(found: dict[str, Any]) -> float:
    """How many times as small the weights file is."""
    return float(found["original"]["size"]["file"] / found["steps"][-1]["measured"]["size"]["file"])
