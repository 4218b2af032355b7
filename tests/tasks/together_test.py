"""Several tasks on one tower, and one more for a model that has some."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import danlu
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError

FAST: dict[str, Any] = {"steps": 160, "batch": 16, "lr": 3e-3, "evaluate_every": 45, "precision": "float32"}


def files(place: Path) -> dict[str, Any]:
    """What the meal was like, for whom, and how many stars."""
    rows = [("great" if n % 2 else "awful", "Anna" if n % 3 else "Tom", n) for n in range(96)]
    mood = "".join(f"The meal {n} was {word} for {name}.,{word}\n" for word, name, n in rows)
    stars = "".join(
        f"The meal {n} was {word} for {name}.,{50.5 if word == 'great' else 10.5}\n" for word, name, n in rows
    )
    names = "".join(
        "".join(
            f"{each}\t{'B-PER' if each == name else 'O'}\n" for each in f"The meal {n} was {word} for {name}".split()
        )
        + "\n"
        for word, name, n in rows
    )
    for file, text in (
        ("mood.csv", "text,label\n" + mood),
        ("stars.csv", "text,score\n" + stars),
        ("names.conll", names),
    ):
        (place / file).write_text(text, encoding="utf8")
    named = {"mood": "mood.csv", "stars": "stars.csv", "names": "names.conll"}
    kinds = {"mood": "classify", "stars": "regress", "names": "tag"}
    return {name: {"task": kinds[name], "data": {"paths": str(place / file)}} for name, file in named.items()}


def test_several_tasks_are_learnt_on_one_tower(tower: Callable[[str], Path], tmp_path: Path) -> None:
    run = danlu.call(
        "finetune", tower("bert"), quiet=True, tasks=files(tmp_path), train=FAST, output=tmp_path / "run"
    ).run
    assert run
    model = danlu.load(run)
    assert set(model.heads) == {"mood", "stars", "names"}
    assert model.classify("The meal 7 was great for Tom.").value == "great"
    high, low = model.regress([f"The meal 7 was {word} for Tom." for word in ("great", "awful")])
    assert high.value - low.value > 10
    assert dict(model.tag("The meal 7 was great for Anna"))["Anna"] == "B-PER"
    names = {row["data"] for row in danlu.call("finetune", run, quiet=True).metrics.values() if isinstance(row, dict)}
    assert not names
    results = (run / "evaluation.json").read_text()
    assert all(f'"{name}: validation"' in results for name in model.heads)


def test_a_task_is_added_and_the_others_stay(tower: Callable[[str], Path], tmp_path: Path) -> None:
    given = files(tmp_path)
    first = danlu.call(
        "finetune", tower("bert"), quiet=True, tasks={"mood": given["mood"], "names": given["names"]},
        train=FAST | {"steps": 10, "evaluate_every": 10}, output=tmp_path / "first",
    ).run  # fmt: skip
    second = danlu.call(
        "finetune", first, quiet=True, tasks={"stars": given["stars"]}, keep=True, adapt="head",
        train=FAST | {"steps": 10, "evaluate_every": 10}, output=tmp_path / "second",
    ).run  # fmt: skip
    assert first
    assert second
    before, after = (Checkpoint.load(run).model.state_dict() for run in (first, second))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert any(name.startswith("heads.stars") for name in after)


def test_turns_follow_the_sizes_or_not(tower: Callable[[str], Path], tmp_path: Path) -> None:
    given = files(tmp_path)
    lines = (tmp_path / "mood.csv").read_text().splitlines()
    (tmp_path / "mood.csv").write_text("\n".join(lines[:31]) + "\n")
    counts = {}
    for sampling in (0.0, 1.0):
        run = danlu.call(
            "finetune", tower("bert"), quiet=True, tasks={"mood": given["mood"], "stars": given["stars"]},
            sampling=sampling, train=FAST | {"steps": 12, "evaluate_every": 12}, output=tmp_path / f"run{sampling}",
        ).run  # fmt: skip
        assert run
        lines = [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"mood_loss"' in line]
        counts[sampling] = len([line for line in lines if "evaluation" not in line])
    assert counts[0.0] == 6
    assert counts[1.0] < 6


def test_data_is_each_tasks_own(tower: Callable[[str], Path], tmp_path: Path) -> None:
    given = files(tmp_path)
    with pytest.raises(DanluError, match="E1912"):
        danlu.call("finetune", tower("bert"), tmp_path / "mood.csv", quiet=True, tasks={"stars": given["stars"]})


def test_losses_are_balanced_by_doubts(tower: Callable[[str], Path], tmp_path: Path) -> None:
    given = files(tmp_path)
    runs = {}
    for balance in ("fixed", "uncertainty"):
        runs[balance] = danlu.call(
            "finetune", tower("bert"), quiet=True, tasks={"mood": given["mood"], "stars": given["stars"]},
            balance=balance, train=FAST | {"steps": 12, "evaluate_every": 12}, output=tmp_path / balance,
        ).run  # fmt: skip
    one, other = (Checkpoint.load(run).model.state_dict() for run in runs.values())  # type: ignore[arg-type]
    assert one.keys() == other.keys()
    assert not torch.equal(one["heads.mood.output.weight"], other["heads.mood.output.weight"])
    assert "doubts.mood" in (runs["uncertainty"] / "checkpoints/step-00000012/model.safetensors").read_bytes().decode(
        "latin1"
    )  # type: ignore[operator]
