"""Every objective learns a toy language, and nothing learns from answers that are wrong."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from danlu.data.batch import IGNORED, Batch
from danlu.data.corpus import Corpus
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.loader import Loader
from danlu.data.turns import Turns
from danlu.models.build import Model, build
from danlu.models.families import fresh
from danlu.train.objectives import ReplacedObjective, TokenObjective, TokenSettings

FIRST, COUNT, LENGTH = 12, 24, 32  # the words are numbers that count on, round and round
ROLES = ("pad", "end", "start", "mask", "before", "after", "between", "regular", "extreme", "sequential")
SPECIAL = {role: number for number, role in enumerate(ROLES)} | {"separator": 1}
STOP = FIRST + COUNT // 2  # ends a sentence
SENTINELS = tuple(range(FIRST + COUNT + 19, FIRST + COUNT - 1, -1))


def pieces(ids: Any) -> list[str]:
    return ["." if index == STOP else f" {index}" for index in ids]


WORDS = Words(FIRST + COUNT + 20, SPECIAL, SENTINELS, 0, pieces)
TINY: dict[str, Any] = {"width": 64, "depth": 2, "heads": 2, "length": 64, "dropout": 0.0}
Wrong = Callable[[Batch], Batch]


def counting(random: np.random.Generator) -> list[int]:
    start, length = random.integers(COUNT), random.integers(6, 2 * LENGTH)
    return (FIRST + (start + np.arange(length)) % COUNT).tolist()


def low_then_high(random: np.random.Generator) -> list[int]:
    """Two sentences. A second one that has low words is another text's, or the first."""
    half = (LENGTH - 3) // 2
    low, high = random.integers(FIRST, STOP, size=half), random.integers(STOP + 1, FIRST + COUNT, size=half)
    return [*low.tolist(), STOP, *high.tolist()]


def translated(random: np.random.Generator) -> list[int]:
    """Random words, then each of them in the other language."""
    text = random.integers(COUNT // 2, size=8)
    return [*(FIRST + text).tolist(), SPECIAL["separator"], *(FIRST + COUNT // 2 + text).tolist()]


def repeated(random: np.random.Generator) -> list[int]:
    """One word, again and again: any other was put there."""
    return [FIRST + int(random.integers(COUNT))] * int(random.integers(6, 2 * LENGTH))


# objective -> (model, its own words, corruption, weights, language)
OBJECTIVES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, float], Any]] = {
    "mlm": ("bert-tiny", {"attention_dropout": 0.0}, {"kind": "mask"}, {"tokens": 1.0}, counting),
    "nsp": ("bert-tiny", {"pairs": True}, {"kind": "plain", "pairs": "next"}, {"pairs": 1.0}, low_then_high),
    "sop": ("bert-tiny", {"pairs": True}, {"kind": "plain", "pairs": "order"}, {"pairs": 1.0}, low_then_high),
    "mlm and nsp": ("bert-tiny", {"pairs": True}, {"kind": "mask", "pairs": "next"},
                    {"tokens": 1.0, "pairs": 1.0}, counting),
    "tlm": ("bert-tiny", {}, {"kind": "translation", "sides": True, "share": 0.3}, {"tokens": 1.0}, translated),
    "clm": ("gpt2-tiny", {}, {"kind": "shift"}, {"tokens": 1.0}, counting),
    "clm of palm": ("palm-tiny", {}, {"kind": "shift"}, {"tokens": 1.0}, counting),
    "prefix": ("gpt2-tiny", {}, {"kind": "prefix"}, {"tokens": 1.0}, counting),
    "fim": ("gpt2-tiny", {}, {"kind": "middle"}, {"tokens": 1.0}, counting),
    "span": ("t5-tiny", {}, {"kind": "spans"}, {"tokens": 1.0}, counting),
    "ul2": ("t5-tiny", {}, {"kind": "mixture"}, {"tokens": 1.0}, counting),
    "rtd": ("electra-tiny", {"part": "both", "table_width": 32}, {"kind": "detect", "mask": 1.0, "replace": 0.0,
            "share": 0.3}, {"tokens": 1.0, "replaced": 50.0}, repeated),
    "infill": ("bart-tiny", {}, {"kind": "infill"}, {"tokens": 1.0}, counting),
}  # fmt: skip


# Those that take turns.
TURNS = {"mlm and tlm in turns": ("mlm", "tlm"), "clm and fim in turns": ("clm", "fim")}


def loader_of(objective: str) -> Loader:
    _, _, noise, _, language = OBJECTIVES[objective]
    texts = [language(np.random.default_rng(number)) for number in range(400)]
    settings = CorruptionSettings(**noise)
    return Loader(pack(Corpus.of(texts), LENGTH, settings, WORDS), corruption(settings, WORDS), 32, 0)


def toy(objective: str) -> tuple[Model, TokenObjective, Loader | Turns]:
    parts = TURNS.get(objective, (objective,))
    name, words, _, weights, _ = OBJECTIVES[parts[0]]
    model = build(fresh(name, WORDS.vocabulary, **TINY, **words)[1])
    settings = TokenSettings(z_weight=1e-4 if "palm" in objective else 0.0)
    if len(parts) == 1:
        kind = ReplacedObjective if "replaced" in weights else TokenObjective
        return model, kind(settings, weights), loader_of(objective)
    each = dict.fromkeys(parts, 1.0)
    losses = dict.fromkeys(parts, "tokens")
    return model, TokenObjective(settings, each, losses), Turns({part: loader_of(part) for part in parts}, each)


def mean_loss(model: Model, objective: TokenObjective, batch: Batch) -> torch.Tensor:
    counts, totals = objective.counts(batch), objective(model, batch)
    asked = [name for name, count in counts.items() if count]
    return torch.stack([objective.weights[name] * totals[name] / counts[name] for name in asked]).sum()


def learned(objective: str, change: Wrong = lambda batch: batch, seconds: float = 10.0) -> float:
    """The share of the first loss that is left, as soon as it is below a half, or after so many seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        model, loss_of, loader = toy(objective)
        adam = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.0)
        begun, losses = time.process_time(), []
        for step in range(10_000):
            loss = mean_loss(model, loss_of, change(loader.batch(step)))
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
            share = float(np.mean(losses[-5:])) / losses[0]
            if share < 0.5 or time.process_time() - begun > seconds:
                return share
    finally:
        torch.set_num_threads(threads)
    return 1.0


@pytest.mark.parametrize("objective", [*OBJECTIVES, *TURNS])
def test_half_the_loss_in_ten_seconds_on_one_thread(objective: str) -> None:
    assert learned(objective) < 0.5


def wrong(batch: Batch) -> Batch:
    """A target generator that is broken: an answer of the right kind at the right place, but any answer."""
    chance = torch.Generator().manual_seed(int(next(iter(batch.inputs.values())).sum()))

    def drawn(name: str, targets: torch.Tensor) -> torch.Tensor:
        if name == "chance":
            return targets
        if name == "replaced":  # half of all tokens are said to have been others
            others = FIRST + (targets - FIRST + 1) % COUNT
            return torch.where(
                (targets == IGNORED) | (torch.rand(targets.shape, generator=chance) < 0.5), targets, others
            )
        low, high = (0, 2) if name == "pairs" else (FIRST, FIRST + COUNT)
        return torch.where(targets == IGNORED, IGNORED, torch.randint(low, high, targets.shape, generator=chance))

    return Batch(batch.inputs, {name: drawn(name, targets) for name, targets in batch.targets.items()})


@pytest.mark.parametrize("objective", ["mlm", "nsp", "clm", "span", "infill", "rtd", "mlm and tlm in turns"])
def test_wrong_answers_teach_nothing(objective: str) -> None:
    assert learned(objective, wrong, 1.5) > 0.5


def trained(steps: int = 60, **options: float) -> tuple[float, float]:
    """After so many steps of a toy GPT: the mean likelihood of the right answer, and the mean size of log Z."""
    model, _, loader = toy("clm")
    objective = TokenObjective(TokenSettings(**options))
    adam = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.0)
    for step in range(steps):
        adam.zero_grad()
        mean_loss(model, objective, loader.batch(step)).backward()
        adam.step()
    batch = loader.batch(steps)
    with torch.no_grad():
        logits = model(**batch.inputs).flatten(0, 1)
    targets = batch.targets["tokens"].flatten()
    right = logits.log_softmax(-1)[targets != IGNORED].gather(1, targets[targets != IGNORED][:, None])
    return right.exp().mean().item(), logits.logsumexp(-1).abs().mean().item()


def test_smoothing_leaves_doubt_and_the_penalty_keeps_logits_small() -> None:
    sure, large = trained()
    doubting, _ = trained(smoothing=0.2)
    _, small = trained(z_weight=0.1)
    assert doubting < sure - 0.1
    assert small < large / 2
