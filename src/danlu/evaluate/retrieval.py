"""Does a model put a sentence and its translation in the same place? Sentence retrieval as on Tatoeba (Artetxe, Schwenk
2019; Hu et al. 2020, XTREME): of all sentences of the other language, the nearest should be the translation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from danlu.errors import DanluError
from danlu.evaluate.intervals import Interval, bootstrap
from danlu.generate.engine import Engine
from danlu.generate.rest import at_rest
from danlu.generate.rows import BUDGET, batches, limit, padded_right
from danlu.models.language import LanguageModel

DEPTH = 2 / 3  # of the layers: the middle ones are the least tied to one language (XTREME takes 8 of mBERT's 12)
PORTION = 1024  # rows of similarities at once


@dataclass(frozen=True)
class RetrievalScore:
    """The share of sentences whose translation is nearest, from the first language to the second (`forth`), `back`, and
    both together; `hits`: what each pair adds to that, 0, ½ or 1."""

    both: Interval
    forth: Interval
    back: Interval
    hits: Sequence[float]


def score_retrieval(
    engine: Engine, pairs: Sequence[tuple[str, str]], layer: int | None = None, centred: bool = False,
    languages: tuple[str, str] | None = None,
) -> RetrievalScore:  # fmt: skip
    """pairs: sentences with their translations. layer: 0 for the embeddings, the last by default two thirds up.
    centred: each language's mean is taken away first. languages: of a model that tells them apart; E1227 for others.

    E1813 for fewer than two pairs, E1814 for a layer that the model does not have; longer sentences lose their end.
    """
    if len(pairs) < 2:
        raise DanluError("E1813", found=len(pairs))
    told = languages or (None, None)
    first, second = (vectors(engine, [pair[side] for pair in pairs], layer, told[side]) for side in (0, 1))
    if centred:
        first, second = first - first.mean(0), second - second.mean(0)
    forth, back = nearest(first, second), nearest(second, first)
    own = np.arange(len(pairs))
    hits = np.stack([forth == own, back == own]).astype(np.float64)
    both = hits.mean(axis=0)
    return RetrievalScore(bootstrap(both), bootstrap(hits[0]), bootstrap(hits[1]), both.tolist())


def vectors(engine: Engine, texts: Sequence[str], layer: int | None = None, language: str | None = None) -> Tensor:
    """The mean of a layer's states over each text, (N, D), float32."""
    model = engine.model
    if not isinstance(model, LanguageModel):
        raise DanluError("E1802")
    depth = model.config.transformer.depth
    at = max(1, round(DEPTH * depth)) if layer is None else layer
    if not 0 <= at <= depth:
        raise DanluError("E1814", found=layer, possible=f"0 … {depth}")
    number = _number(model, language)
    most = limit(model)
    rows = [engine.tokenizer.frame(ids[: most and most - 2]) for ids in engine.tokenizer.encode_many(texts)]
    rows = [row or [0] for row in rows]
    found: dict[int, Tensor] = {}
    for some in batches([len(row) for row in rows], BUDGET):
        tokens, valid = padded_right([rows[row] for row in some], engine.device)
        told = None if number is None else torch.full_like(tokens, number)
        with at_rest(model), _watched(model, at) as seen:
            model.hidden(tokens, valid, languages=told)
        weight = (torch.ones_like(tokens) if valid is None else valid.long())[..., None]
        means = (seen[-1].float() * weight).sum(1) / weight.sum(1)
        found |= dict(zip(some, means.cpu(), strict=True))
    return torch.stack([found[row] for row in range(len(rows))])


def nearest(queries: Tensor, others: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """For each vector (N, D) which of the others (M, D) has the largest cosine, (N,); the first of equals."""
    queries, others = normalize(queries, dim=-1), normalize(others, dim=-1)
    parts = [(queries[at : at + PORTION] @ others.T).argmax(1) for at in range(0, len(queries), PORTION)]
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = torch.cat(parts).numpy()
    return found


def _number(model: LanguageModel, language: str | None) -> int | None:
    known = model.config.embedding.languages
    if not known or language is None:
        return None
    if language not in known:
        raise DanluError("E1227", found=language, possible=known)
    return known.index(language)


@contextmanager
def _watched(model: LanguageModel, layer: int) -> Iterator[list[Tensor]]:
    """What comes out of a layer, each time that the model reads."""
    place: nn.Module = model.tower.transformer.blocks[layer - 1] if layer else model.tower.embedding
    seen: list[Tensor] = []

    def keep(module: nn.Module, given: object, out: Tensor) -> None:
        seen.append(out)

    handle = place.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()
