"""Naming pictures by prompts, where captions are names of classes."""

from collections.abc import Sequence

from danlu.checkpoint import Checkpoint
from danlu.data.pictures.prepare import Side
from danlu.evaluate.pictures import Embedded, Naming, zero_shot
from danlu.generate.matching import Matcher

FEW_CLASSES, TIMES = 1000, 2  # captions are names of classes where there are so few, each so often


def names_of(side: Side, count: int) -> list[str]:
    """The classes of the first pictures of a side, by their first captions; none where captions are no classes."""
    names = list(dict.fromkeys(side.caption(at) for at in range(count)))
    return names if len(names) <= FEW_CLASSES and TIMES * len(names) <= count else []


def named(checkpoint: Checkpoint, found: Embedded, side: Side, templates: Sequence[str] = ("{name}",)) -> Naming | None:
    """Every picture named by the prompts of all classes; None where captions are no classes."""
    names = names_of(side, len(found.images))
    if not names:
        return None
    labels = [names.index(side.caption(at)) for at in range(len(found.images))]
    return zero_shot(found.images, Matcher(checkpoint).classes(names, templates), names, labels)
