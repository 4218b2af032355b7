"""Objectives that take turns, batches that grow and rows that become longer, in whole runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import danlu
from danlu.cli import main
from danlu.data.corpus import Corpus
from danlu.data.corruption.translation import sides_apart
from danlu.data.division import divide
from danlu.errors import DanluError
from danlu.models.families import FAMILIES
from danlu.recipes.pretraining.loading import loading
from danlu.recipes.pretraining.objectives import choose
from danlu.recipes.pretraining.plan import plan
from danlu.recipes.pretraining.pretrain import make_tokenizer
from danlu.voice import Voice

SHAPE: dict[str, Any] = {
    "model": {"width": 32, "depth": 1, "heads": 2, "length": 64}, "tokenizer": {"vocabulary": 300},
    "samples": {"count": 0}, "quiet": True,
}  # fmt: skip
QUIET = Voice(quiet=True)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Sentences and their translations, a pair a line."""
    lines = ["en\tde", *(f"the {n} cats sleep here .\tdie {n} Katzen schlafen hier ." for n in range(200))]
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(lines), encoding="utf8")
    return path


def lines(run: Any) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if "loss" in line]


def test_masks_and_translations_take_turns(pairs: Path) -> None:
    brief = {"train": {"steps": 6, "batch": 4, "evaluate_every": 6}, "data": {"length": 32, "text": "{en}</s>{de}"}}
    run = danlu.pretrain("xlm-roberta-tiny", pairs, objective={"mlm": 1.0, "tlm": 0.5}, **SHAPE, **brief)
    names = [{name for name in line if name.endswith("_loss")} for line in lines(run)]
    assert sum(each == {"mlm_loss"} for each in names) == 4
    assert sum(each == {"tlm_loss"} for each in names) == 2
    evaluation = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()][-1]["evaluation"]
    assert {"loss", "mlm_loss", "tlm_loss"} <= evaluation.keys()
    measured = json.loads((run.path / "evaluation.json").read_text())["results"]
    assert {row["data"] for row in measured} == {"held out, mlm", "held out, tlm"}
    assert run.config["corruption"]["kind"] == "auto"
    assert danlu.resume(run).path == run.path


def test_a_run_of_two_objectives_goes_on_where_it_was(text: Path, make: Any) -> None:
    """All that a resume needs of the data: the same batches from any step on."""
    course = {"steps": 16, "batch": 4, "first_batch": 2, "lengths": "16:0.4", "accumulate": 2}
    ready = plan(make("gpt-tiny", text, objective="clm+fim", train=course, data={"length": 32},
                      tokenizer={"vocabulary": 300}))  # fmt: skip
    settings, family = ready.settings, ready.start.family
    tokenizer = make_tokenizer(settings, family, QUIET)
    chosen = choose(settings.objective, settings.corruption.kind, family)
    training = loading(settings, divide(settings.data, tokenizer, QUIET), tokenizer, family, chosen).training
    whole = [batch for batch, _ in zip(training.stream(0), range(32), strict=False)]
    assert [next(iter(batch.targets)) for batch in whole[:8]] == ["clm", "clm", "fim", "fim"] * 2
    for first in (5, 12, 27):
        for at, batch in zip(range(first, 32), training.stream(first), strict=False):
            assert np.array_equal(batch.inputs["tokens"], whole[at].inputs["tokens"])
            assert batch.targets.keys() == whole[at].targets.keys()


def test_what_each_turn_sees_is_shown(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["objective=mlm+tlm", "data.text={en}</s>{de}", "tokenizer.vocabulary=300", "rows=1", "html=rows.html"]
    assert main(["data", "inspect", "xlm-roberta-tiny", str(pairs), *words, "lang=en", "--json"]) == 0
    said = capsys.readouterr().out
    assert "mlm: fill in hidden tokens" in said
    assert "tlm: the same on translations" in said
    assert json.loads(said.splitlines()[-1])["metrics"].keys() == {"mlm", "tlm"}
    page = Path("rows.html").read_text(encoding="utf8")
    assert "Rows · mlm" in page
    assert "Rows · tlm" in page


def test_beside_translations_each_side_is_a_text_of_its_own() -> None:
    corpus = Corpus.of([[5, 6, 1, 7], [8], [1, 9, 1, 1, 4]])
    apart = sides_apart(corpus, 1)
    assert [apart.document(number).tolist() for number in range(apart.documents)] == [[5, 6], [7], [8], [9], [4]]
    assert len(set(apart.pieces.hashes.tolist())) == 5


def test_short_rows_first_and_batches_that_grow(text: Path, make: Any) -> None:
    course = {"steps": 20, "batch": 4, "first_batch": 1, "ramp": 5, "lengths": "8:0.25,16:0.25"}
    ready = plan(make("gpt-tiny", text, train=course, data={"length": 32}, tokenizer={"vocabulary": 300}))
    settings, family = ready.settings, ready.start.family
    tokenizer = make_tokenizer(settings, family, QUIET)
    chosen = choose(settings.objective, settings.corruption.kind, family)
    training = loading(settings, divide(settings.data, tokenizer, QUIET), tokenizer, family, chosen).training
    shapes = [tuple(training.batch(step).inputs["tokens"].shape) for step in range(12)]
    assert [length for _, length in shapes] == [8] * 5 + [16] * 5 + [32] * 2
    assert [rows for rows, _ in shapes] == [4, 6, 9, 11, 14, 8, 8, 8, 8, 8, 4, 4]
    streamed = [batch.inputs["tokens"] for batch, _ in zip(training.stream(3), range(8), strict=False)]
    assert all(np.array_equal(each, training.batch(3 + at).inputs["tokens"]) for at, each in enumerate(streamed))


def test_first_rows_must_be_shorter(text: Path) -> None:
    with pytest.raises(DanluError, match="E1226"):
        danlu.pretrain("gpt-tiny", text, train={"steps": 4, "lengths": {64: 0.5}}, data={"length": 32}, **SHAPE)


def test_a_kind_of_corruption_that_was_given_stays(text: Path, make: Any) -> None:
    def kind(start: str, **given: Any) -> str:
        return str(plan(make(start, text, **given)).settings.corruption.kind)

    assert kind("bert-tiny", objective="nsp") == "plain"
    assert kind("bert-tiny", objective="nsp", corruption={"kind": "mask"}) == "mask"
    assert kind("gpt-tiny", corruption={"kind": "prefix"}) == "prefix"
    assert list(choose({}, "prefix", FAMILIES["gpt2"]).names) == ["prefix"]
    with pytest.raises(DanluError, match="E1507"):
        plan(make("gpt-tiny", text, objective="clm+fim", corruption={"kind": "shift"}))
