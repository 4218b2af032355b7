"""A thousand prompts nobody should write: each is refused with a number or does its work, soon, and runs nothing."""

import builtins
import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import DanluError
from danlu.prompt.scorer import Scorer
from danlu.prompt.spec import MAX_BYTES, read_spec, spec_of
from danlu.tasks.task import Row

ScorerOf = Callable[[str], Scorer]
CODE = (
    "{__import__('os').system('touch /tmp/x')}", "{{ 7*7 }}", "${7*7}", "{% for x in y %}{% endfor %}",
    "{text.__class__}", "{0}", "{text!r:>{width}}", "%(text)s", "`id`", "$(id)", "<script>alert(1)</script>",
    "{text[0]}", "{config.items()}", '{"placeholder":"text_a"}', "lambda: 0", "{soft:eval}", "{}",
)  # fmt: skip
SPECIAL = (
    "[MASK]",
    "[SEP]",
    "</s>",
    "<|endoftext|>",
    "<extra_id_0>",
    "\x00",
    "\u202e",
    "\ufeff",
    "👩‍👩‍👧‍👦",
    "\u0300" * 50,
)
KINDS: tuple[Any, ...] = (None, 0, -1, 1e308, True, [], {}, "", "x", [[]], {"kind": "text"}, ["a"] * 70, "é" * 300)


def nested(depth: int) -> Any:
    data: Any = "x"
    for level in range(depth):
        data = [data] if level % 2 else {"templates": data}
    return data


def hostile(chance: random.Random) -> Any:
    """A prompt with one or more things wrong with it."""
    words: Any = {"a": ["great"], "b": ["bad", "very bad"]}
    spec: dict[str, Any] = {"templates": ["{text} It was {mask}."], "verbaliser": {"words": words}, "length": 40}
    for _ in range(chance.randint(1, 3)):
        match chance.randrange(12):
            case 0:
                spec["templates"] = [chance.choice(CODE) + " {mask}"]
            case 1:
                spec["templates"] = [chance.choice(SPECIAL) + "{text}" + chance.choice(SPECIAL) + "{mask}"]
            case 2:
                spec["templates"] = ["x" * chance.choice((10, 30_000, 10**6)) + "{mask}"]
            case 3:
                spec[chance.choice((*spec, "query", "calibration", "made_by", "length"))] = chance.choice(KINDS)
            case 4:
                spec["templates"] = nested(chance.choice((3, 40, 400)))
            case 5:
                words = {name: [chance.choice((" ", "", "\n", "great", "GREAT", *SPECIAL))] for name in ("a", "b", "")}
                spec["verbaliser"] = {"words": words}
            case 6:
                spec["verbaliser"] = {
                    "words": {f"c{number}": [f"w{number}"] * 3 for number in range(chance.choice((1, 150)))}
                }
            case 7:
                spec[chance.choice(("__class__", "eval", "code", "template", "\u0000"))] = "import os"
            case 8:
                pool = [{"values": {"text": chance.choice(SPECIAL) * 9}, "label": chance.choice(("a", "zzz"))}] * 5
                spec["demonstrations"] = {"pool": pool, "count": chance.choice((-1, 0, 3, 10**9))}
            case 9:
                spec["templates"] = [[{"kind": chance.choice(("soft", "text", "exec", "field", "mask")),
                                       "count": chance.choice((1, 10**9)), "name": chance.choice(CODE)}]]  # fmt: skip
            case 10:
                spec["templates"] = ["{mask}" * chance.choice((2, 80))] * chance.choice((1, 300))
            case 11:
                spec["verbaliser"] = {"words": {"a": [["x"] * 50], "b": [chance.choice(KINDS)]}}
    return spec


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_thousand_hostile_prompts(
    scorer_of: ScorerOf, family: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """500 a model, asked about rows that are hostile as well."""
    scorer, chance, ran = scorer_of(family), random.Random(family), list[str]()
    rows = [
        Row({"text": " ".join(SPECIAL) + CODE[0]}),
        Row({"text": "x" * 10**6}),
        Row({"text": "".join(SPECIAL) * 300}),
    ]
    for place, name in ((builtins, "eval"), (os, "system"), (os, "popen"), (subprocess, "Popen")):
        monkeypatch.setattr(place, name, lambda *_, name=name, **__: ran.append(name))
    done, refused, slowest, longest = 0, set[str](), 0.0, 0
    for number in range(500):
        data, began = hostile(chance), time.process_time()
        path = tmp_path / "prompt.json"
        try:
            if number % 3 == 0:
                path.write_text(json.dumps(data), encoding="utf8")
                spec = read_spec(path)
            else:
                spec = spec_of(data)
            scores = scorer.scores(spec, rows[: 1 + number % 3])
            assert bool(scores.isfinite().all())
            done += 1
        except DanluError as error:
            refused |= {each.code for each in getattr(error, "problems", [error])}
            longest = max(longest, len(str(error)))
        slowest = max(slowest, time.process_time() - began)
    assert not ran
    assert done > 20
    assert len(refused) > 8
    assert slowest < 5
    assert longest < 40_000
    assert all(code.startswith(("E11", "E13", "E23")) for code in refused)


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "prompt.json"
    with path.open("wb") as file:
        file.truncate(2**33)  # eight sparse gigabytes
    began = time.process_time()
    with pytest.raises(DanluError, match="E2301"):
        read_spec(path)
    assert time.process_time() - began < 1
    assert MAX_BYTES < 2**20
