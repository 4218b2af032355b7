"""Several tasks on one tower, and one more for a model that has some."""

import json
import random
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


def balanced(balance: str, start: Path, place: Path, **settings: Any) -> Path:
    """A run of two tasks, by this rule."""
    given = files(place)
    steps = settings.pop("steps", 12)
    run = danlu.call(
        "finetune", start, quiet=True, tasks={"mood": given["mood"], "stars": given["stars"]}, balance=balance,
        train=FAST | {"steps": steps, "evaluate_every": 4, "best": False} | settings,
        output=place / f"{balance}-{steps}",
    ).run  # fmt: skip
    assert run
    return run


def lines(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "grad_norm" in row]


@pytest.mark.parametrize("balance", ["uncertainty", "pace", "norms", "surgery"])
def test_losses_are_balanced(balance: str, tower: Callable[[str], Path], tmp_path: Path) -> None:
    one, other = (balanced(each, tower("bert"), tmp_path) for each in ("fixed", balance))
    first, second = (Checkpoint.load(run).model.state_dict() for run in (one, other))
    assert first.keys() == second.keys()
    assert not torch.equal(first["heads.mood.output.weight"], second["heads.mood.output.weight"])
    rows = lines(other)
    both = [row for row in rows if {"mood_loss", "stars_loss"} <= row.keys()]
    assert len(both) == (len(rows) if balance in ("norms", "surgery") else 0)
    weights = {name for row in rows for name in row if name.endswith("_weight")}
    assert weights == (set() if balance == "surgery" else {"mood_weight", "stars_weight"})
    if balance != "surgery":
        assert rows[0].get("mood_weight", 1.0) == 1.0 != rows[-1].get("stars_weight", rows[-2].get("stars_weight"))


@pytest.mark.parametrize("balance", ["uncertainty", "pace", "norms", "surgery"])
def test_what_balances_losses_is_taken_up_again(
    balance: str, tower: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = balanced(balance, tower("bert"), tmp_path, save_every=5)
    monkeypatch.setattr("danlu.train.trainer.Trainer._end_if_over", stopping_at(7))
    (tmp_path / "again").mkdir()
    with pytest.raises(KeyboardInterrupt):
        balanced(balance, tower("bert"), tmp_path / "again", save_every=5)
    monkeypatch.undo()
    again = danlu.call("finetune", tmp_path / "again" / f"{balance}-12", quiet=True).run
    assert again
    assert (again / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


def stopping_at(step: int) -> Callable[[Any], None]:
    """In place of a person who asks a run to leave."""

    def end(trainer: Any) -> None:
        if trainer.progress.step == step:
            trainer.progress.ended = "interrupted"

    return end


def test_tasks_that_write_share_a_model(tmp_path: Path) -> None:
    """Nothing but the prompt says which language is meant."""
    french, german = {"one": "un", "two": "deux", "three": "trois"}, {"one": "eins", "two": "zwei", "three": "drei"}
    chance = random.Random(0)
    for name, words in (("french", french), ("german", german)):
        rows = [[chance.choice(list(words)) for _ in range(chance.randint(1, 3))] for _ in range(200)]
        table = ["source\ttarget", *("\t".join([" ".join(row), " ".join(words[w] for w in row)]) for row in rows)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(table) + "\n")
    run = danlu.call(
        "finetune", "bart-tiny", model={"width": 64}, train={"steps": 200, "batch": 32}, output=tmp_path / "run",
        quiet=True, seed=1,
        tasks={name: {"task": "translate", "data": {"paths": str(tmp_path / f"{name}.tsv"), "tested": 0.2},
                      "writing": {"prompt": name + ": {source}"}} for name in ("french", "german")},
    ).run  # fmt: skip
    assert run
    model = danlu.load(run)
    assert model.generate("french: one two", max_new_tokens=8) == "un deux"
    assert model.generate("german: one two", max_new_tokens=8) == "eins zwei"
    found = danlu.call("evaluate", run, tmp_path / "german.tsv", task="german", quiet=True).metrics
    assert found["chrf"]["value"] > 80


def test_heads_and_texts_do_not_mix(tower: Callable[[str], Path], tmp_path: Path) -> None:
    given = files(tmp_path)
    (tmp_path / "words.tsv").write_text("source\ttarget\n" + "one\tun\ntwo\tdeux\n" * 20)
    given["words"] = {"task": "translate", "data": {"paths": str(tmp_path / "words.tsv")}}
    with pytest.raises(DanluError, match="E1919"):
        danlu.call("finetune", tower("gpt2"), quiet=True, tasks=given)
