"""How well a model that sees answers, and whether it looks at all: the same questions about other pictures."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from danlu.checkpoint import Checkpoint
from danlu.data.pictures.sheets import SheetLoader
from danlu.evaluate.intervals import bootstrap
from danlu.evaluate.judge import details, measured
from danlu.evaluate.pictures import Embedded
from danlu.evaluate.predictions import Prediction
from danlu.generate.decode import GenerateSettings
from danlu.generate.rest import at_rest
from danlu.generate.seeing import Seer
from danlu.models.multimodal import MultimodalModel
from danlu.recipes.evaluating.judging import Judged
from danlu.recipes.pictures.shown import thumbnail_of
from danlu.recipes.pictures.speaking.rows import Side
from danlu.recipes.pictures.speaking.stage import TeachSeeing
from danlu.settings import Data
from danlu.tasks.metrics import METRICS
from danlu.train.hardware import autocast, compute_precision
from danlu.voice import Voice

PORTION = 128  # questions answered at once
MOST = 4000  # questions of a side that are answered; more say nothing more
NAMES = 50  # different answers, up to which they count as classes
LONGEST, LONGER = 64, 4  # tokens of an answer: at most, and so many more than the longest right one
SHOWN = 8

Prior = Mapping[str, str]


class Posed(NamedTuple):
    """A question about a picture of a side."""

    picture: int
    question: str
    answer: str


def prior_of(sides: Sequence[Side]) -> Prior:
    """question -> the answer it had most often in training; "" for what was never asked."""
    counts: dict[str, Counter[str]] = {}
    for side in sides:
        for _, question, answer in side.asked():
            counts.setdefault(question, Counter())[answer] += 1
    every: Counter[str] = sum(counts.values(), Counter())
    most = {"": every.most_common(1)[0][0]} if every and "" not in counts else {}
    return most | {question: found.most_common(1)[0][0] for question, found in counts.items()}


def judged(
    checkpoint: Checkpoint, side: Side, settings: TeachSeeing, data: str, voice: Voice, prior: Prior | None = None
) -> Judged:
    """Answers to what is asked of a side, written greedily. Where there are few different answers, also what the model
    says of other pictures instead (`swapped`), and what one would get without looking (`prior`)."""
    posed = _thinned([Posed(*each) for each in side.asked()])
    classes = len({each.answer for each in posed}) <= NAMES
    said = answers(checkpoint, side, posed, voice)
    found = [_prediction(number, side, each, text) for number, (each, text) in enumerate(zip(posed, said, strict=True))]
    names = ("accuracy",) if classes else ("exact_match", "bleu", "rouge_l")
    metrics = [METRICS[name] for name in names]
    results = [row | {"data": data, "unit": "questions"} for row in measured(metrics, found, settings.seed)]
    task = "classify" if classes else "describe"
    if classes:
        other = exchanged(len(side.pairs), settings.seed)
        swapped = answers(checkpoint, side, [each._replace(picture=other[each.picture]) for each in posed], voice)
        rows = {"swapped": swapped}
        if prior:
            rows["prior"] = [prior.get(each.question, prior.get("", "")) for each in posed]
        for name, texts in rows.items():
            right = bootstrap([text == each.answer for text, each in zip(texts, posed, strict=True)])
            results.append({"name": name, "data": data, "unit": "questions"} | right.plain())
    parts = details(task, found, metrics[0], (), settings.seed) | {"task": task, "metric": metrics[0].name}
    return Judged(data, task, found, results, parts)


def answers(checkpoint: Checkpoint, side: Side, posed: Sequence[Posed], voice: Voice) -> list[str]:
    """What the model answers, greedily."""
    seer, found = Seer(checkpoint), list[str]()
    longest = max((len(ids) for ids in seer.tokenizer.encode_many([each.answer for each in posed])), default=1)
    how = GenerateSettings(max_new_tokens=min(LONGEST, longest + LONGER), temperature=0.0)
    with (
        voice.progress("answering", "作答", len(posed)) as bar, at_rest(checkpoint.model) as device,
        autocast(device, compute_precision("auto", device)),
    ):  # fmt: skip
        for start in range(0, len(posed), PORTION):
            some = posed[start : start + PORTION]
            images = [numbers(checkpoint, side, each.picture) for each in some]
            found += seer.answers(images, [each.question for each in some], how)
            bar.advance(len(some))
    return found


def numbers(checkpoint: Checkpoint, side: Side, picture: int) -> Tensor:
    """A picture, or the frames of a film, as the model takes them: (F, 3, height, width)."""
    assert checkpoint.processor
    pixels = side.data.pixels[side.data.index[picture]]
    seen = torch.from_numpy(checkpoint.processor.numbers(pixels))
    return seen if seen.ndim == 4 else seen[None]


@torch.no_grad()
def embedded(model: MultimodalModel, batches: SheetLoader, most: int) -> Embedded:
    """Pictures and their captions in the common space, in order."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    images, texts, alike = [], [], []
    for step in range(min(batches.steps_per_epoch, -(-most // batches.size))):
        batch = batches.batch(step).to(device)
        images.append(model.embed_image(batch.inputs["images"]).float().cpu())
        texts.append(model.embed_text(batch.targets["captions"], batch.targets["captions_valid"]).float().cpu())
        alike.append(batch.targets["alike"].cpu())
    model.train(training)
    return Embedded(torch.cat(images).numpy(), torch.cat(texts).numpy(), torch.cat(alike).numpy())


def pictured(checkpoint: Checkpoint, side: Side, found: Judged) -> Data:
    """For the report: pictures with what was asked and said, mistakes first."""
    order = sorted(found.predictions, key=lambda each: each.prediction == each.reference)
    rows = [
        {
            "picture": thumbnail_of(side.data.pixels[side.data.index[int(each.columns["picture"])]]),
            "question": each.text, "said": str(each.prediction), "right": str(each.reference),
        }
        for each in (*order[:SHOWN], *order[-SHOWN:])[: len(order)]
    ]  # fmt: skip
    return {"pictures": {"asked": rows}}


def exchanged(count: int, seed: int) -> dict[int, int]:
    """For each picture another one, by lot: every picture takes one other's place."""
    order = np.random.default_rng(seed).permutation(count).tolist()
    return dict(zip(order, [*order[1:], order[0]], strict=True))


def _thinned(posed: list[Posed]) -> list[Posed]:
    """At most MOST of them, evenly spread."""
    return posed if len(posed) <= MOST else [posed[at * len(posed) // MOST] for at in range(MOST)]


def _prediction(number: int, side: Side, each: Posed, said: str) -> Prediction:
    pair = side.pairs[each.picture]
    key = hashlib.blake2b(f"{pair.where} {each.question}".encode(), digest_size=8).hexdigest()
    columns = {"picture": str(each.picture)}
    return Prediction(number, pair.where, pair.line, key, each.question, said, each.answer, columns=columns)
