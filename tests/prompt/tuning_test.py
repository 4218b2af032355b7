"""Training by a prompt: what trains, what stays, what is used afterwards."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from danlu.adapt import read_change
from danlu.errors import DanluError
from danlu.prompt.scorer import Scorer
from danlu.prompt.scorers import scorer_for
from danlu.prompt.spec import PromptSpec
from danlu.prompt.tuning import loader_of, measured, read_vectors, shares_of, tune, write_vectors
from danlu.tasks.task import Row
from danlu.train.trainer import TrainSettings
from danlu.voice import Voice

ScorerOf = Callable[[str], Scorer]
VERBALISER = {"words": {"good": ["great"], "bad": ["terrible"]}}
PLAIN = {"bert": "{text} It was {mask}.", "gpt2": "{text} It was {mask}", "t5": "{text} It was {mask}."}
SOFT = {"bert": "{text} {soft:3} {mask}.", "gpt2": "{text} {soft:3} {mask}", "t5": "{text} {soft:3} {mask}.",
        "clip": "{soft:3} {label}"}  # fmt: skip
GOOD = ["a wonderful film", "great fun", "very good cast", "the story was wonderful", "what a great plot", "so good"]
BAD = ["a boring film", "dull and bad", "very terrible cast", "the story was boring", "what a dull plot", "so bad"]
ROWS = [Row({"text": text, "label": label}) for pair in zip(GOOD, BAD, strict=True)
        for text, label in zip(pair, ("good", "bad"), strict=True)]  # fmt: skip
TRAIN = TrainSettings(steps=25, batch=12, lr=3e-3, warmup=0.1, save_every=10, log_every=5, best=False)
QUIET = Voice(quiet=True)


def own(scorer: Scorer) -> Scorer:
    """The same with a model of its own, which may change."""
    return scorer_for(replace(scorer.checkpoint, model=copy.deepcopy(scorer.checkpoint.model)))


def changed(scorer: Scorer, kind: str) -> Scorer:
    return scorer_for(scorer.checkpoint.changed(read_change(kind)))


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("kind", ["full", "lora", "prefix", "top"])
def test_prompt_based_fine_tuning(scorer_of: ScorerOf, tmp_path: Path, family: str, kind: str) -> None:
    """The loss through the prompt falls, for any change of the model; nothing else of it moves."""
    scorer = changed(own(scorer_of(family)), kind)
    spec = PromptSpec(templates=PLAIN[family], verbaliser=VERBALISER)
    still = {name: each.clone() for name, each in scorer.model.named_parameters() if not each.requires_grad}
    before = measured(scorer, spec, ROWS, {})
    rate = {"full": 3e-3, "top": 3e-3, "lora": 1e-2, "prefix": 1e-1}[kind]
    progress, learned = tune(scorer, spec, ROWS, TRAIN.model_copy(update={"lr": rate}), tmp_path, voice=QUIET)
    assert (progress.ended, learned) == ("done", {})
    assert measured(scorer, spec, ROWS, {})["loss"] < 0.9 * before["loss"]
    assert all(torch.equal(each, dict(scorer.model.named_parameters())[name]) for name, each in still.items())


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_soft_prompt(scorer_of: ScorerOf, tmp_path: Path, family: str) -> None:
    """The vectors alone are trained; they are read back as they were written."""
    scorer = own(scorer_of(family))
    scorer.model.requires_grad_(False)
    spec = PromptSpec(templates=SOFT[family], verbaliser=VERBALISER)
    begun = scorer.beginning(spec)
    weights = {name: each.clone() for name, each in scorer.model.state_dict().items()}
    _, learned = tune(scorer, spec, ROWS, TRAIN.model_copy(update={"lr": 0.3}), tmp_path, voice=QUIET)
    assert measured(scorer, spec, ROWS, learned)["loss"] < measured(scorer, spec, ROWS, begun)["loss"]
    assert all(torch.equal(each, weights[name]) for name, each in scorer.model.state_dict().items())
    write_vectors(tmp_path / "prompt.safetensors", learned)
    again = read_vectors(tmp_path / "prompt.safetensors")
    assert torch.equal(scorer.scores(spec, ROWS, again), scorer.scores(spec, ROWS, learned))


def test_coop(scorer_of: ScorerOf, tmp_path: Path) -> None:
    """Vectors before the classes' names learn to tell pictures apart; each picture is looked at once (CoOp)."""
    scorer = own(scorer_of("clip"))
    scorer.model.requires_grad_(False)
    rows = []
    for number in range(8):
        label, colour = (("good", (255, 9 * number, 0)), ("bad", (0, 9 * number, 255)))[number % 2]
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{number}.png")
        rows.append(Row({"picture": str(tmp_path / f"{number}.png"), "label": label}))
    spec = PromptSpec(templates=SOFT["clip"], verbaliser=VERBALISER)
    begun, shown = scorer.beginning(spec), []
    embed = scorer.model.embed_image
    scorer.model.embed_image = lambda images: (shown.append(len(images)), embed(images))[1]
    settings = TRAIN.model_copy(update={"lr": 0.1, "steps": 20})
    _, learned = tune(scorer, spec, rows, settings, tmp_path / "run", voice=QUIET)
    assert measured(scorer, spec, rows, learned)["loss"] < 0.5 * measured(scorer, spec, rows, begun)["loss"]
    assert sum(shown) == len(rows)
    with torch.no_grad():
        assert torch.allclose(scorer.forward(spec, rows, learned), scorer.scores(spec, rows, learned), atol=1e-5)


def test_a_trained_tower_is_not_remembered(scorer_of: ScorerOf, tmp_path: Path) -> None:
    """What a dual encoder remembers of texts and pictures is forgotten as soon as its weights move."""
    scorer, seen = changed(own(scorer_of("clip")), "full"), []
    rows = []
    for number, label in enumerate(("good", "bad")):
        Image.new("RGB", (32, 32), (255 * number, 0, 99)).save(tmp_path / f"{number}.png")
        rows.append(Row({"picture": str(tmp_path / f"{number}.png"), "label": label}))
    spec = PromptSpec(templates="a {label} film", verbaliser=VERBALISER)
    settings = TRAIN.model_copy(update={"steps": 4, "evaluate_every": 1})
    tune(scorer, spec, rows, settings, tmp_path / "run", voice=QUIET, validation=rows, watch=seen.append)
    assert len({each["loss"] for each in seen}) == 4


def test_training_and_use_are_one(scorer_of: ScorerOf) -> None:
    """What the loss is taken of is what is answered."""
    scorer = scorer_of("bert")
    spec = PromptSpec(templates=SOFT["bert"], verbaliser=VERBALISER)
    learned = scorer.beginning(spec)
    with torch.no_grad():
        assert torch.allclose(scorer.forward(spec, ROWS, learned), scorer.scores(spec, ROWS, learned), atol=1e-5)


def test_resumed(scorer_of: ScorerOf, tmp_path: Path) -> None:
    """Interrupted and gone on with: the same vectors, to the bit."""
    spec = PromptSpec(templates=SOFT["gpt2"], verbaliser=VERBALISER)

    def run(folder: Path, steps: int) -> dict[str, torch.Tensor]:
        scorer = own(scorer_of("gpt2"))
        scorer.model.requires_grad_(False)
        settings = TRAIN.model_copy(update={"steps": steps, "schedule": "constant", "warmup": 0.0, "lr": 0.1})
        return tune(scorer, spec, ROWS, settings, folder, voice=QUIET)[1]

    whole = run(tmp_path / "whole", 20)
    run(tmp_path / "parts", 10)
    again = run(tmp_path / "parts", 20)
    assert torch.equal(whole["soft"], again["soft"])


def test_best_weights(scorer_of: ScorerOf, tmp_path: Path) -> None:
    """With rows to choose by, the best vectors stay; each evaluation is shown."""
    scorer = own(scorer_of("bert"))
    scorer.model.requires_grad_(False)
    spec, seen = PromptSpec(templates=SOFT["bert"], verbaliser=VERBALISER), []
    settings = TRAIN.model_copy(update={"lr": 1.0, "best": True, "evaluate_every": 5, "schedule": "constant"})
    _, learned = tune(scorer, spec, ROWS, settings, tmp_path, voice=QUIET, validation=ROWS, watch=seen.append)
    assert measured(scorer, spec, ROWS, learned)["cost"] == pytest.approx(min(each["cost"] for each in seen))
    assert len(seen) == 5


def test_shares(scorer_of: ScorerOf, tmp_path: Path) -> None:
    """Rows that belong to several classes in part pull the answers there."""
    scorer = changed(own(scorer_of("bert")), "full")
    spec = PromptSpec(templates=PLAIN["bert"], verbaliser=VERBALISER)
    shares = torch.tensor([[0.8, 0.2]] * len(ROWS))
    tune(scorer, spec, ROWS, TRAIN.model_copy(update={"steps": 40}), tmp_path, voice=QUIET, shares=shares)
    assert torch.allclose(scorer.scores(spec, ROWS).exp(), shares, atol=0.12)


def test_strange_label(scorer_of: ScorerOf) -> None:
    spec = PromptSpec(templates=PLAIN["bert"], verbaliser=VERBALISER)
    with pytest.raises(DanluError, match="E2356"):
        shares_of(spec, [Row({"text": "x", "label": "neutral"})])


def test_loader_gives_every_row_once(scorer_of: ScorerOf) -> None:
    scorer, spec = scorer_of("bert"), PromptSpec(templates=PLAIN["bert"], verbaliser=VERBALISER)
    loader = loader_of(scorer, spec, ROWS, shares_of(spec, ROWS), 5, seed=1)
    batches = [loader.batch(step) for step in range(loader.steps_per_epoch)]
    assert sorted(number for batch in batches for number in batch.inputs["rows"].tolist()) == list(range(len(ROWS)))
    for batch in batches:
        for number, share in zip(batch.inputs["rows"].tolist(), batch.targets["classes"], strict=True):
            assert share.tolist() == [float(ROWS[number].values["label"] == name) for name in spec.classes]
