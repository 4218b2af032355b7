"""Settings of fine-tuning, each by what it changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import danlu
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.recipes.runs.folder import Run

FEW: dict[str, Any] = {"steps": 3, "batch": 8, "lr": 1e-2, "evaluate_every": 3, "precision": "float32"}


def tuned(start: Path, file: Path, name: str, **settings: Any) -> Run:
    train = FEW | settings.pop("train", {})
    return danlu.finetune(start, file, quiet=True, output=f"runs/{name}", train=train, **settings)


def embeddings(where: Any) -> torch.Tensor:
    return Checkpoint.load(where).model.state_dict()["tower.embedding.tokens.weight"]


def test_the_vectors_of_tokens_stay_unless_they_shall_train(tower: Callable[[str], Path], reviews: Path) -> None:
    before = embeddings(tower("bert"))
    assert torch.equal(embeddings(tuned(tower("bert"), reviews, "kept")), before)
    assert not torch.equal(embeddings(tuned(tower("bert"), reviews, "moved", embeddings=True)), before)


def test_new_tokens_are_trained(tower: Callable[[str], Path], reviews: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("number\nunheardof\n")
    danlu.call("tokenizer", "extend", tower("bert"), tmp_path / "words.txt", quiet=True, output=tmp_path / "more")
    before = embeddings(tower("bert"))
    run = tuned(tower("bert"), reviews, "grown", tokenizer={"path": str(tmp_path / "more")})
    after = embeddings(run)
    assert len(after) > len(before)
    assert not torch.equal(after[len(before) :], before.mean(0).expand(len(after) - len(before), -1))
    danlu.load(run).classify("number unheardof")
    other = tmp_path / "other"
    danlu.call(
        "tokenizer", "train", reviews, quiet=True, output=other, tokenizer={"vocabulary": 300, "kind": "wordpiece"}
    )
    with pytest.raises(DanluError, match="E1911"):
        tuned(tower("bert"), reviews, "wrong", tokenizer={"path": str(other)})


def test_rows_are_cut_to_length_and_counted(tower: Callable[[str], Path], reviews: Path) -> None:
    run = tuned(tower("bert"), reviews, "short", data={"length": 8})
    ledger = (run.path / "ledger.json").read_text()
    assert '"rows": 0' not in ledger.partition('"truncated"')[2][:60]


def test_what_is_set_aside(tower: Callable[[str], Path], reviews: Path) -> None:
    import json

    run = tuned(tower("bert"), reviews, "half", data={"held_out": 0.5})
    ledger = json.loads((run.path / "ledger.json").read_text())
    assert 0.3 < ledger["held_out"] / ledger["read"] < 0.7
    tested = tuned(tower("bert"), reviews, "tested", data={"tested": 0.3})
    assert {row["data"] for row in tested.results} == {"validation", "test"}


def test_config_json_names_the_labels(tower: Callable[[str], Path], reviews: Path) -> None:
    import json

    run = tuned(tower("bert"), reviews, "labels")
    config = json.loads((run.model / "config.json").read_text())
    assert config["id2label"] == {"0": "no", "1": "yes"}
    assert config["architectures"] == ["BertForSequenceClassification"]


def test_a_fresh_model_learns_from_the_rows_alone(reviews: Path) -> None:
    run = danlu.finetune("bert-tiny", reviews, quiet=True, output="runs/fresh", train=FEW,
                         model={"width": 32, "depth": 1, "heads": 2}, tokenizer={"vocabulary": 300})  # fmt: skip
    assert run.state == "finished"
    assert danlu.load(run).classify("The meal").value in ("yes", "no")


def test_a_finished_task_becomes_the_start_of_another(
    tower: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    first = tuned(tower("bert"), reviews, "first")
    rows = "".join(f"The meal {n} was {'good' if n % 2 else 'bad'},{n % 3}\n" for n in range(60))
    (tmp_path / "other.csv").write_text("text,label\n" + rows)
    second = tuned(first.path, tmp_path / "other.csv", "second")
    assert danlu.load(second).classify("The meal").value in ("0", "1", "2")
    lineage = Checkpoint.load(second.path).lineage
    assert lineage["before"]["verb"] == "finetune"


def test_the_same_command_gives_the_same_bits(tower: Callable[[str], Path], reviews: Path) -> None:
    one, other = (tuned(tower("bert"), reviews, name) for name in ("one", "other"))
    assert (one.model / "model.safetensors").read_bytes() == (other.model / "model.safetensors").read_bytes()


def test_engines_and_answerers_are_not_mixed_up(tower: Callable[[str], Path], reviews: Path) -> None:
    run = tuned(tower("bert"), reviews, "run")
    model = danlu.load(run)
    with pytest.raises(DanluError, match="E1909"):
        model.tag("The meal")
    with pytest.raises(DanluError, match="E1910"):
        danlu.call("chat", run, "The meal", quiet=True)
