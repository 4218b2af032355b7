"""Metrics of tags: entities as seqeval (and CoNLL's script before it) finds them, and plain tags."""

from collections.abc import Sequence

import numpy as np

from danlu.tasks.metrics.labels import f1
from danlu.tasks.metrics.metric import Cases, Floats, Metric, added, ratio

Entity = tuple[str, int, int]  # type, first token, last token
# BMES and BILOU say in other letters what IOBES says.
PREFIXES = {"M": "I", "L": "E", "U": "S"}


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sentence tagged in BIO, IOB, IOBES, BMES or BILOU. Tags that fit no scheme (an `I-` after `O`,
    or after another type) begin an entity, as in seqeval's default mode. A tag without a type is of the type `_`."""
    found: list[Entity] = []
    before, kind, begin = "O", "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, type_ = _parts(tag)
        if _ends(before, kind, prefix, type_):
            found.append((kind, begin, place - 1))
        if _begins(before, kind, prefix, type_):
            begin = place
        before, kind = prefix, type_
    return found


def _parts(tag: str) -> tuple[str, str]:
    prefix = tag[:1]
    return PREFIXES.get(prefix, prefix) if tag[1:2] == "-" else prefix, tag[1:].split("-", 1)[-1] or "_"


def _ends(before: str, kind: str, prefix: str, type_: str) -> bool:
    return before in "ES" or (before in "BI" and prefix in "BSO") or (before not in "O." and kind != type_)


def _begins(before: str, kind: str, prefix: str, type_: str) -> bool:
    return prefix in "BS" or (before in "ESO" and prefix in "EI") or (prefix not in "O." and kind != type_)


def found_and_missed(cases: Cases) -> Floats:
    """(N, 3): entities found rightly, found wrongly, missed; in each sentence."""
    rows = ((set(entities(p)), set(entities(r))) for p, r in zip(cases.predictions, cases.references, strict=True))
    return np.array([(len(p & r), len(p - r), len(r - p)) for p, r in rows], float).reshape(-1, 3)


def right_tags(cases: Cases) -> Floats:
    """(N, 2): tags that are right, and tags; in each sentence."""
    rows = zip(cases.predictions, cases.references, strict=True)
    return np.array([(sum(map(str.__eq__, p, r)), len(r)) for p, r in rows], float).reshape(-1, 2)


TAG_METRICS = (
    Metric("entity_f1", "entity F1", "实体 F1", "{:.2%}", dear=True, of=added(found_and_missed, f1)),
    Metric("tag_accuracy", "accuracy of tags", "标签准确率", "{:.2%}", dear=True, of=added(right_tags, ratio)),
)
