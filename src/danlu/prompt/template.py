"""From a template, a row and demonstrations to tokens with gaps where the answer goes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from danlu.errors import DanluError, nearest
from danlu.prompt.segments import Demos, FieldOf, LabelOf, Mask, Segment, Soft, Text
from danlu.prompt.spec import Demonstration, Verbaliser, parts_of
from danlu.prompt.spelling import Spelling
from danlu.tasks.task import Row

Values = Mapping[str, Any]
Spelled = Mapping[str, list[int]]
CHARACTERS = 24  # of a token, at most: what is far too long is cut before it is spelled


@dataclass(frozen=True)
class Gap:
    """Where a part of the answer goes. spaced: a space stands before it. kind: whether the model writes it, or is given
    it."""

    kind: Literal["mask", "label"]
    spaced: bool


@dataclass(frozen=True)
class Rendered:
    """A row as a model will see it: runs of tokens and gaps; soft vectors are ids from the vocabulary's end on.

    cut: tokens of its fields that found no room, as far as they were counted. dropped: demonstrations that found none.
    """

    pieces: tuple[tuple[int, ...] | Gap, ...]
    cut: int = 0
    dropped: int = 0

    @property
    def gaps(self) -> list[Gap]:
        return [piece for piece in self.pieces if isinstance(piece, Gap)]

    def filled(self, answer: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
        """All tokens with the parts of an answer in its gaps, and where each gap begins; a label is written in all."""
        parts, tokens, starts = iter(answer), list[int](), list[int]()
        for piece in self.pieces:
            if isinstance(piece, Gap):
                starts.append(len(tokens))
                tokens += answer[0] if piece.kind == "label" else next(parts)
            else:
                tokens += piece
        return tokens, starts


class Renderer:
    """Rows become pieces by one template.

    room: tokens for all pieces. soft: where the ids of each soft segment begin.
    """

    def __init__(
        self, template: Sequence[Segment], verbaliser: Verbaliser, spelling: Spelling, room: int,
        soft: Mapping[str, int] | None = None,
    ):  # fmt: skip
        self.verbaliser, self.spelling, self.room, self.soft = verbaliser, spelling, room, soft or {}
        self.slots = list(slots(template))
        self.fields = {
            place: slot.segment for place, slot in enumerate(self.slots) if isinstance(slot.segment, FieldOf)
        }
        self.between = next((slot.segment.between for slot in self.slots if isinstance(slot.segment, Demos)), None)

    def render(self, rows: Sequence[Row], demos: Sequence[Sequence[Demonstration]] = ()) -> list[Rendered]:
        """demos: those of each row, the last one nearest to the question. E2305 for a field that a row lacks, E2306
        where the fixed parts alone are too long."""
        shown = {_key(each): each for some in demos for each in some} if self.between is not None else {}
        sources = [*(row.values for row in rows), *(each.values for each in shown.values())]
        texts = list({self._text(values, place) for values in sources for place in self.fields})
        spelled = dict(zip(texts, self.spelling.spell(texts), strict=True))
        solved = {key: self._solved(each, spelled) for key, each in shown.items()}
        chosen = [[solved[_key(each)] for each in some] for some in demos] if shown else [[]] * len(rows)
        return [self._render(row.values, some, spelled) for row, some in zip(rows, chosen, strict=True)]

    def _render(self, values: Values, demos: Sequence[list[int]], spelled: Spelled) -> Rendered:
        """The row's own parts have room first, then demonstrations, the last ones before the first ones."""
        pieces, cut = self._pieces(values, spelled, self.room)
        free, kept = self.room - sum(len(piece) for piece in pieces if isinstance(piece, list)), list[list[int]]()
        for demo in reversed(demos):
            if len(demo) > free:
                break
            free -= len(demo)
            kept.insert(0, demo)
        block = [token for demo in kept for token in demo]
        ready = [
            tuple(block) if piece is None else tuple(piece) if isinstance(piece, list) else piece for piece in pieces
        ]
        return Rendered(tuple(piece for piece in ready if piece != ()), cut, len(demos) - len(kept))

    def _pieces(self, values: Values, spelled: Spelled, room: int) -> tuple[list[list[int] | Gap | None], int]:
        """What each segment becomes (None: demonstrations go there) within a room, and how many tokens had none."""
        pieces = [self._piece(slot, values, spelled, place) for place, slot in enumerate(self.slots)]
        fixed = sum(
            len(piece) for place, piece in enumerate(pieces) if isinstance(piece, list) and place not in self.fields
        )
        if fixed > room:
            raise DanluError("E2306", found=fixed, length=room)
        whole = {place: piece for place in self.fields if isinstance(piece := pieces[place], list)}
        lengths = _shared({place: len(piece) for place, piece in whole.items()}, self.fields, room - fixed)
        for place, length in lengths.items():
            kept = slice(length) if self.fields[place].keep == "start" else slice(len(whole[place]) - length, None)
            pieces[place] = whole[place][kept]
        return pieces, sum(map(len, whole.values())) - sum(lengths.values())

    def _piece(self, slot: "Slot", values: Values, spelled: Spelled, place: int) -> list[int] | Gap | None:
        match slot.segment:
            case Mask() | LabelOf():
                return Gap(slot.segment.kind, slot.spaced)
            case Demos():
                return None
            case Soft(name=name, count=count):
                return list(range(self.soft[name], self.soft[name] + count))
            case FieldOf():
                return spelled[self._text(values, place)]
            case Text(text=text):
                return self.spelling.word(text)

    def _text(self, values: Values, place: int) -> str:
        """A field as text, without the spaces around it, and no longer than there could be room for. E2305 where the
        row does not have it, or has something else than text there."""
        field, value = self.fields[place], values.get(self.fields[place].name)
        if value is None or isinstance(value, (list, tuple, dict, bytes)):
            raise DanluError("E2305", name=field.name, found=list(values), nearest=nearest(field.name, list(values)))
        text, most = str(value).strip(), self.room * CHARACTERS
        text = text[:most] if field.keep == "start" else text[-most:]
        return f" {text}" if text and self.slots[place].spaced else text

    def _solved(self, demo: Demonstration, spelled: Spelled) -> list[int]:
        """A demonstration with its answer, and what is written after it: a quarter of the room at most."""
        pieces, _ = self._pieces(demo.values, spelled, max(self.room // 4, 1))
        parts = parts_of(self.verbaliser.words[demo.label][0])
        masks, found = iter(parts), list[int]()
        for piece in pieces:
            if isinstance(piece, Gap):
                word = next(masks) if piece.kind == "mask" else parts[0]
                found += self.spelling.word(" " * piece.spaced + word)
            elif piece is not None:
                found += piece
        return found + (self.spelling.word(self.between) if self.between else [])


@dataclass(frozen=True)
class Slot:
    """A segment, and whether the space before it is its own; texts have given theirs to what follows."""

    segment: Segment
    spaced: bool = False


def slots(template: Sequence[Segment]) -> Iterator[Slot]:
    """A template's segments with the spaces between them given to those that follow."""
    spaced = False
    for segment in template:
        if isinstance(segment, Text):
            text = " " * spaced + segment.text
            spaced = text.endswith(" ")
            if text := text.removesuffix(" "):
                yield Slot(segment.model_copy(update={"text": text}))
        else:
            yield Slot(segment, spaced)
            spaced = spaced and isinstance(segment, Soft | Demos)


def _shared(lengths: Mapping[int, int], fields: Mapping[int, FieldOf], room: int) -> dict[int, int]:
    """How long each field may be: no longer than its share of the room, and the longest ones cut to one length."""
    allowed = {place: min(length, int(fields[place].share * room)) for place, length in lengths.items()}
    low, high = 0, max(allowed.values(), default=0)
    while low < high:  # the greatest length with which all fit
        middle = (low + high + 1) // 2
        fits = sum(min(each, middle) for each in allowed.values()) <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return {place: min(length, low) for place, length in allowed.items()}


def _key(demo: Demonstration) -> tuple[str, tuple[tuple[str, str], ...]]:
    return demo.label, tuple(demo.values.items())
