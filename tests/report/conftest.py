"""A run folder as a small causal model leaves it: falling loss, one spike with a rollback, one resume."""

import json
import math
import random
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from danlu.report.html import VOID

CONFIG = """\
verb: pretrain
start: gpt2-mini
corruption: {kind: shift}
data: {paths: [austen.txt], validation: 0.02, length: 256}
train: {steps: 1200, lr: 0.001, batch: 16384, schedule: cosine, warmup: 100}
seed: 7
"""
HOSTILE = "<script>alert(1)</script>"


def make_run(folder: Path, steps: int = 1200) -> Path:
    """Write the sample run into a new folder."""
    chance = random.Random(0)
    (folder / "model").mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG, encoding="utf8")
    lines = []
    for step in range(1, steps + 1):
        spike = 2.5 * math.exp(-((step - 700) ** 2) / 60) if step < 705 else 0
        level = 3.1 + 6.4 * math.exp(-step / 130) + 0.9 * math.exp(-step / 600)
        lr = 1e-3 * min(step / 100, 0.5 * (1 + math.cos(math.pi * max(step - 100, 0) / 1100)) * 0.9 + 0.1)
        line = {
            "step": step, "loss": level + spike + chance.gauss(0, 0.07), "causal_loss": level + spike, "lr": lr,
            "grad_norm": 0.4 + 1.5 * math.exp(-step / 80) + spike + abs(chance.gauss(0, 0.1)), "tokens": 16384 * step,
            "seconds": step * 0.42, "tokens_per_second": 39000 * (0.4 if step % 97 == 0 else 1) + chance.gauss(0, 900),
        }  # fmt: skip
        lines.append(line)
        if step % 100 == 0:
            lines.append(
                {"step": step, "evaluation": {"loss": level + 0.12 + step / 9000, "bits_per_byte": level / 2.9}}
            )
    lines.append({"step": 704, "event": "rollback", "detail": f"loss 7.9 over 4.1; back to step 650 {HOSTILE}"})
    journal = [{"time": "2026-05-01T12:00:00+0800", "event": "started"}]
    journal.append({"time": "2026-05-01T12:06:11+0800", "event": "interrupted", "step": 950, "signal": "SIGTERM"})
    journal.append({"time": "2026-05-01T12:09:40+0800", "event": "resumed", "step": 950})
    (folder / "journal.jsonl").write_text("\n".join(map(json.dumps, journal)), encoding="utf8")
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"step": 1201, "lo'
    (folder / "metrics.jsonl").write_text(text, encoding="utf8")
    samples = [
        {
            "step": at,
            "prompt": "It was a truth",
            "text": f" universally {'known that the young lady, ' * (at // 400)}{HOSTILE}",
        }
        for at in range(100, steps + 1, 100)
    ]
    fills = [
        {"token": "night", "probability": 0.61},
        {"token": "day", "probability": 0.22},
        {"token": "<b>", "probability": 0.04},
    ]
    samples.append({"step": steps, "prompt": "They danced all [MASK] long.", "fills": fills})
    (folder / "samples.json").write_text(json.dumps(samples), encoding="utf8")
    (folder / "evaluation.json").write_text(json.dumps(evaluation()), encoding="utf8")
    details = [
        {"reason": "empty", "file": "austen.txt", "line": 31},
        {"reason": "not JSON", "file": f"{HOSTILE}.jsonl", "line": 5},
    ]
    ledger = {
        "read": 9412, "trained": 9100, "truncated": {"rows": 0, "tokens": 0}, "divided": 1, "held_out": 188,
        "dropped": {"empty": 122, "not JSON": 1}, "details": details,
    }  # fmt: skip
    (folder / "ledger.json").write_text(json.dumps(ledger), encoding="utf8")
    danlu = {
        "format": 1,
        "family": "gpt2",
        "parameters": 13_924_352,
        "lineage": {"start": "fresh", "data": {"austen.txt": "9f2c" * 16}},
    }
    (folder / "model/danlu.json").write_text(json.dumps(danlu), encoding="utf8")
    (folder / "model/config.json").write_text(
        '{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}', encoding="utf8"
    )
    return folder


def evaluation() -> dict[str, object]:
    def measured(value: float, width: float, count: int) -> dict[str, object]:
        return {"value": value, "low": value - width, "high": value + width, "level": 0.95, "count": count}

    groups = {"anaphor_agreement": 0.81, "island_effects": 0.52, "npi_licensing": 0.58, "subject_verb_agreement": 0.69}
    return {
        "results": [
            {"name": "bits_per_byte", "data": "validation", **measured(1.412, 0.021, 412)},
            {"name": "perplexity", "data": "validation", **measured(26.9, 1.1, 412)},
            {"name": "pairs", "data": "blimp", **measured(0.641, 0.008, 6700)},
        ],
        "pairs": {
            "groups": {name: measured(value, 0.02, 400) for name, value in groups.items()},
            "paradigms": {
                f"{name}_{at}": measured(value, 0.04, 100) for name, value in groups.items() for at in (1, 2)
            },
        },
    }


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "gpt-austen")


class Tree(HTMLParser):
    """Checks that tags close in order, and collects what a browser would load or run."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "action") and value[:1] != "#"]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def whole_page(text: str) -> Tree:
    """A page that is whole, loads nothing and runs nothing."""
    tree = Tree(text)
    assert not tree.loads
    assert not {"script", "link", "iframe", "img", "object"} & set(tree.tags)
    assert not re.search(r"https?://|@import|url\(", text)
    return tree


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Tree]:
    return whole_page
