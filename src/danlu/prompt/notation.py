"""Templates in one line, for people: "Review: {text} It was {mask}."

{mask} or [MASK], {label}, {demos}, {soft:5}; any other name in braces is a field. {{ and }} are braces.
"""

import re
from collections.abc import Sequence

from danlu.errors import DanluError
from danlu.prompt.segments import Demos, FieldOf, LabelOf, Mask, Segment, Soft, Text

LONGEST = 20_000  # characters of a line
HOLE = re.compile(r"\{\{|\}\}|\[MASK\]|<mask>|\{([^{}\s:]{1,64})(?::(\d{1,3}))?\}|[{}]")
NAMED: dict[str, type[Mask] | type[LabelOf] | type[Demos]] = {"mask": Mask, "label": LabelOf, "demos": Demos}


def read_notation(line: str) -> tuple[Segment, ...]:
    """E2311 for a brace that neither names anything nor is doubled, or a line that is far too long."""
    if len(line) > LONGEST:
        raise DanluError("E2311", found=f"{len(line)} characters", place=LONGEST)
    segments: list[Segment] = []
    text, at = "", 0
    for hole in HOLE.finditer(line):
        text, at = text + line[at : hole.start()], hole.end()
        if hole[0] in ("{{", "}}"):
            text += hole[0][0]
        elif hole[0] in "{}":
            raise DanluError("E2311", found=line, place=hole.start())
        else:
            segments += [Text(text=text), _segment(hole)] if text else [_segment(hole)]
            text = ""
    text += line[at:]
    return (*segments, Text(text=text)) if text else tuple(segments)


def write_notation(template: Sequence[Segment]) -> str:
    """The line that reads back as the same segments, but for shares and the like."""
    return "".join(map(_written, template))


def _segment(hole: re.Match[str]) -> Segment:
    name, count = hole[1], hole[2]
    if name is None:
        return Mask()
    if name == "soft" and count and 0 < int(count) <= 256:
        return Soft(count=int(count))
    if name == "soft" or count is not None:
        raise DanluError("E2311", found=hole.string, place=hole.start())
    return NAMED[name]() if name in NAMED else FieldOf(name=name)


def _written(segment: Segment) -> str:
    match segment:
        case Text(text=text):
            return text.replace("{", "{{").replace("}", "}}")
        case FieldOf(name=name):
            return f"{{{name}}}"
        case Soft(count=count):
            return f"{{soft:{count}}}"
        case _:
            return f"{{{segment.kind}}}"
