"""Replaced-token detection from the command: two halves trained as one, kept as two."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import danlu
from danlu.checkpoint import Checkpoint
from danlu.cli import main
from danlu.errors import DanluError

SHAPE: dict[str, Any] = {
    "model": {"width": 32, "depth": 1, "heads": 2, "length": 64, "table_width": 16}, "tokenizer": {"vocabulary": 300},
    "data": {"length": 32}, "quiet": True,
}  # fmt: skip


@pytest.fixture
def run(text: Path) -> Any:
    return danlu.pretrain("electra-tiny", text, output="runs/electra", train={"steps": 6, "batch": 4}, **SHAPE)


def test_two_losses_and_two_models(run: Any) -> None:
    line = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[0])
    assert line["loss"] == pytest.approx(line["tokens_loss"] + 50 * line["replaced_loss"], rel=1e-5)
    halves = {name: json.loads((run.path / name / "config.json").read_text()) for name in ("model", "generator")}
    assert halves["model"]["architectures"] == ["ElectraForPreTraining"]
    assert halves["generator"]["architectures"] == ["ElectraForMaskedLM"]
    assert "masked_accuracy" in run.metrics
    assert json.loads((run.path / "samples.json").read_text())[0]["fills"]
    tables = [Checkpoint.load(run.path / name).model.get_parameter("tower.embedding.tokens.weight") for name in halves]
    assert torch.equal(*tables)
    transformers = pytest.importorskip("transformers")
    detector = transformers.ElectraForPreTraining.from_pretrained(run.model).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(run.model)("The cat sleeps.", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        ours = Checkpoint.load(run.model).model(tokens).squeeze(-1)
        torch.testing.assert_close(ours, detector(tokens).logits, atol=1e-4, rtol=0)
    assert danlu.load(run.path / "generator").fill("The [MASK] sleeps.")[0]
    assert main(["chat", str(run.path), "The [MASK] sleeps.", "lang=en"]) == 0  # the half that has words answers


def test_training_goes_on_with_the_generator_beside(run: Any, text: Path) -> None:
    further = danlu.pretrain(run, text, quiet=True, output="runs/more", train={"steps": 2, "batch": 4})
    assert (further.path / "generator" / "config.json").is_file()
    (run.path / "generator").rename(run.path / "away")
    with pytest.raises(DanluError, match="E1509"):
        danlu.pretrain(run, text, quiet=True, output="runs/never", train={"steps": 2})


def test_a_kill_on_the_way_changes_nothing(text: Path) -> None:
    words = ["model.width=32", "model.depth=1", "model.heads=2", "tokenizer.vocabulary=300", "data.length=32"]
    assert main(["verify", "resume", "electra-tiny", str(text), *words, "train.batch=4", "steps=6"]) == 0


def test_what_the_detector_reads_is_shown(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "inspect", "electra-tiny", str(text), "tokenizer.vocabulary=300", "rows=2", "lang=en", "--json"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "what the detector reads" in said
    counts = json.loads(said.splitlines()[-1])["metrics"]
    assert counts["targets"] == counts["masked"] + counts["replaced"]
    assert 0 < counts["replaced"] <= counts["masked"]  # a token that was guessed rightly is no replacement
    assert counts["replaced"] > counts.get("kept", 0)
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == said.splitlines()[:-1]
