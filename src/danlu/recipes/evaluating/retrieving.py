"""Sentence retrieval for `danlu evaluate`: files of translations, read as they are for training."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from danlu.data.ledger import Ledger
from danlu.data.reading import Reading
from danlu.data.sources import DataSettings, files_of
from danlu.data.tables import text_columns
from danlu.errors import DanluError
from danlu.evaluate.retrieval import score_retrieval
from danlu.generate.engine import Engine
from danlu.recipes.evaluating.scoring import Scored
from danlu.settings import Settings
from danlu.voice import Voice


class RetrievalSettings(Settings):
    """`retrieval=true`, or: layer: whose states are compared, 0 for the embeddings; two thirds up where not given.
    centred: each language's mean is taken away first, which says what a language is rather than what a sentence says.
    """

    layer: int | None = Field(None, ge=0)
    centred: bool = False


def _asked(value: Any) -> Any:
    return {} if value is True else None if value is False else value


Retrieval = Annotated[RetrievalSettings | None, BeforeValidator(_asked)]


def retrieve(
    engine: Engine, data: DataSettings, settings: RetrievalSettings, limit: int | None, voice: Voice
) -> Scored:
    """How often the translation is the nearest sentence, of the languages in `data.parallel` or, without it, of the two
    columns of text in a table."""
    told = data.parallel
    if not told:
        data = data.model_copy(update={"parallel": _columns(data)})
    if len(data.parallel) != 2:
        raise DanluError("E1813", found=list(data.parallel))
    rows = list(Reading(data, Ledger(), voice).rows(files_of(data)))
    sides = [_joined([(row.begins, row.side, row.text) for row in rows], side) for side in (0, 1)]
    pairs = list(zip(*sides, strict=True))[:limit]
    languages = tuple(told) if told else None
    found = score_retrieval(engine, pairs, settings.layer, settings.centred, languages)  # type: ignore[arg-type]
    measured = {"retrieval": found.both, "retrieval_forth": found.forth, "retrieval_back": found.back}
    return Scored(measured, "pairs", {"retrieval": (found.hits, [1.0] * len(found.hits))})


def _columns(data: DataSettings) -> Mapping[str, str]:
    """The two columns of text in the first file."""
    return {name: name for name in text_columns(files_of(data)[0], data.encoding)}


def _joined(rows: list[tuple[bool, int, str]], wanted: int) -> list[str]:
    """One side of each pair, whole again."""
    texts: list[list[str]] = []
    for begins, side, text in rows:
        if begins:
            texts.append([])
        if side == wanted:
            texts[-1].append(text)
    return ["".join(parts) for parts in texts]
