"""What a model of two towers has learnt: finding pictures by texts, texts by pictures, naming without training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from danlu.data.batch import Batch
from danlu.evaluate.intervals import Interval, bootstrap
from danlu.models.dual import DualEncoder
from danlu.models.multimodal import MultimodalModel

Floats = NDArray[np.float32]
RANKS = (1, 5, 10)
PROBE_STRENGTHS = (0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Embedded:
    """Pictures (N, E) and their texts (N, E), rows of length 1; alike (N,): equal numbers are equal captions."""

    images: Floats
    texts: Floats
    alike: NDArray[np.int64]

    @property
    def similarities(self) -> Floats:
        """Cosines, pictures by texts: (N, N)."""
        return self.images @ self.texts.T


@torch.no_grad()
def embed(model: DualEncoder | MultimodalModel, batches: Iterable[Batch]) -> Embedded:
    """Every pair of some batches, in order."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    images, texts, alike = [], [], []
    for batch in batches:
        inputs = {name: each.to(device) for name, each in batch.inputs.items()}
        images.append(model.embed_image(inputs["images"]).float().cpu())
        texts.append(model.embed_text(inputs["tokens"], inputs.get("valid")).float().cpu())
        alike.append(batch.targets["alike"])
    model.train(training)
    return Embedded(torch.cat(images).numpy(), torch.cat(texts).numpy(), torch.cat(alike).numpy())


def retrieval(found: Embedded, ranks: Sequence[int] = RANKS) -> dict[str, Interval]:
    """R@k both ways: is a right one among the k nearest? Equal captions are right for each other; ties count against.

    text_r1: of the texts a picture finds; image_r1: of the pictures a text finds.
    """
    scores = found.similarities
    right = found.alike[:, None] == found.alike[None, :]
    places = {"text": best_place(scores, right), "image": best_place(scores.T, right.T)}
    return {f"{side}_r{rank}": bootstrap(place < rank) for rank in ranks for side, place in places.items()}


def best_place(scores: Floats, right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many wrong ones are at least as near as the nearest right one: (N,)."""
    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    places: NDArray[np.int64] = ((scores >= best) & ~right).sum(1)
    return places


@dataclass(frozen=True)
class Naming:
    """answers, labels (N,): numbers of classes."""

    names: Sequence[str]
    answers: NDArray[np.int64]
    labels: NDArray[np.int64]

    @property
    def accuracy(self) -> Interval:
        return bootstrap(self.answers == self.labels)

    def confusions(self, most: int = 10) -> list[tuple[str, str, int]]:
        """(what it was, what it was taken for, how often), the worst first."""
        wrong = self.answers != self.labels
        pairs, counts = np.unique(np.stack([self.labels[wrong], self.answers[wrong]], 1), axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:most]
        return [(self.names[pairs[at, 0]], self.names[pairs[at, 1]], int(counts[at])) for at in order]


def zero_shot(images: Floats, classes: Floats, names: Sequence[str], labels: Sequence[int]) -> Naming:
    """Each picture gets the class whose vector is nearest."""
    return Naming(names, (images @ classes.T).argmax(1), np.asarray(labels))


def misses(found: Embedded, most: int = 8) -> list[tuple[int, int]]:
    """(picture, the wrong text it finds first), the surest mistakes first."""
    scores = found.similarities
    right = found.alike[:, None] == found.alike[None, :]
    best = np.where(right, scores, -np.inf).max(1)
    wrong = np.where(right, -np.inf, scores)
    taken = wrong.argmax(1)
    lead = wrong.max(1) - best
    order = [int(at) for at in np.argsort(-lead) if lead[at] >= 0]
    return [(at, int(taken[at])) for at in order[:most]]


def linear_probe(
    training: Floats, labels: Sequence[int], test: Floats, answers: Sequence[int], seed: int = 0
) -> Interval:
    """Accuracy of a logistic regression on frozen vectors, its strength chosen on a fifth of the training rows."""
    from sklearn.linear_model import LogisticRegression

    count = len(training)
    held = np.random.default_rng(seed).permutation(count) < count // 5
    known = np.asarray(labels)

    def fitted(strength: float, rows: NDArray[np.bool_]) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=1000).fit(training[rows], known[rows])

    best = max(PROBE_STRENGTHS, key=lambda each: fitted(each, ~held).score(training[held], known[held]))
    return bootstrap(fitted(best, np.ones(count, bool)).predict(test) == np.asarray(answers))


def facts(found: Mapping[str, Interval]) -> dict[str, float]:
    """The values alone, for a line in metrics.jsonl."""
    return {name: interval.value for name, interval in found.items()}
