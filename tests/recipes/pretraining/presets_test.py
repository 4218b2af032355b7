"""Every recipe: whole, cited, scaled, and able to teach something."""

import json
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.cli import main
from danlu.errors import DanluError
from danlu.models.families import FAMILIES, fresh
from danlu.recipes.pretraining.defaults import Amount, inferred
from danlu.recipes.pretraining.plan import plan
from danlu.recipes.pretraining.presets import MODERN, find_preset, presets
from danlu.recipes.pretraining.stage import Pretrain
from danlu.settings import build

PAPERS = [name for name in presets() if name != MODERN]


@pytest.mark.parametrize("name", list(presets()))
def test_what_it_sets_are_settings_and_what_it_says_is_cited(name: str) -> None:
    preset = presets()[name]
    built = build(Pretrain, {"start": preset.families[0]}, preset.settings)
    assert built.train.optimizer == preset.optimizer
    assert all(family in FAMILIES for family in preset.families)
    assert all(source.where for source in preset.sources)
    assert preset.en
    assert preset.zh
    if name != MODERN:
        assert preset.rate
        assert preset.batch
        assert preset.length
        assert preset.steps


def test_the_papers_numbers_at_the_papers_size() -> None:
    """Brown et al. 2020, table 2.1; Liu et al. 2019, table 9."""
    gpt3, roberta = presets()["gpt3"], presets()["roberta"]
    assert [gpt3.rate_at(width) for width in (768, 1024, 2560, 12288)] == [6e-4, 3e-4, 1.6e-4, 6e-5]
    assert roberta.rate_at(1024) == 4e-4
    assert presets()["t5"].rate_at(64) == presets()["t5"].rate_at(1024) == 1e-2


def test_smaller_models_get_larger_rates_and_no_more_than_the_papers_batch() -> None:
    family, config = fresh("bert-mini", 2000)
    preset = presets()["bert"]
    given = preset.under({}, fresh=True)
    found = inferred(family, "mini", config, Amount(1, 3_000_000), given, preset=preset)
    assert found["train"]["lr"] == pytest.approx(1e-4 * 768 / 256)
    assert found["train"]["batch"] * found["data"]["length"] <= preset.batch
    assert found["train"]["lengths"] == {"64": 0.9}
    other = inferred(family, "mini", config, Amount(1, 3_000_000), {"train": {"optimizer": "muon"}}, preset=preset)
    assert other["train"]["lr"] > found["train"]["lr"]  # another optimiser's rate is its own
    gpt3 = presets()["gpt3"]
    found = inferred(*fresh("gpt3-mini")[:1], "mini", fresh("gpt3-mini")[1], Amount(1, 3_000_000), {}, preset=gpt3)
    assert found["train"]["first_batch"] == max(1, round(found["train"]["batch"] / 16))


def test_what_is_said_goes_over_the_recipe(text: Path, make: Any) -> None:
    ready = plan(make("bert-tiny", text, recipe="paper", train={"weight_decay": 0.5}, objective={"mlm": 1.0}))
    assert ready.settings.recipe == "bert"
    assert ready.settings.train.weight_decay == 0.5
    assert ready.settings.train.betas == (0.9, 0.999)
    assert ready.settings.objective == {"mlm": 1.0}
    assert ready.settings.model["dropout"] == 0.1
    modern = plan(make("bert-tiny", text, recipe="modern"))
    assert modern.settings.train.optimizer == "muon"
    assert plan(make("bert-tiny", text, recipe="albert")).settings.train.optimizer == "lamb"


def test_recipes_that_do_not_fit(text: Path, make: Any) -> None:
    with pytest.raises(DanluError, match="E1508") as raised:
        plan(make("bert-tiny", text, recipe="t5"))
    assert raised.value.possible == ["paper", "albert", "bert", "modern"]
    with pytest.raises(DanluError, match="E1508"):
        plan(make("llama-tiny", text, recipe="paper"))
    assert find_preset("paper", FAMILIES["mbart"])[0] == "bart"


def test_a_model_that_has_learnt_keeps_its_shape(trained: Any, text: Path, make: Any) -> None:
    ready = plan(make(trained, text, recipe="paper", output="runs/more"))
    assert ready.settings.recipe == "gpt2"
    assert not ready.settings.model


@pytest.mark.parametrize("name", PAPERS)
def test_each_paper_teaches_something_in_seconds(name: str, text: Path) -> None:
    start = f"{presets()[name].families[0]}-tiny"
    run = danlu.pretrain(
        start, text, recipe=name, quiet=True, samples={"count": 0}, tokenizer={"vocabulary": 300}, data={"length": 32},
        model={"width": 64, "depth": 2, "heads": 2}, train={"steps": 50, "batch": 8, "evaluate_every": 50},
    )  # fmt: skip
    losses = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in losses if "loss" in line]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    if name == "gpt3":
        assert main(["pretrain", str(run.path / "config.yaml"), "output=runs/again", "lang=en"]) == 0
        again = Path("runs/again/model/model.safetensors")
        assert again.read_bytes() == (run.model / "model.safetensors").read_bytes()


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "recipes", "--json", "lang=en"]) == 0
    said = capsys.readouterr().out
    assert "Brown et al. 2020" in said
    assert set(json.loads(said.splitlines()[-1])["metrics"]["recipes"]) == set(presets())
