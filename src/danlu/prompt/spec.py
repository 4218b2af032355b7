"""A prompt as plain data: what a model is shown of a row, which words stand for which class, and how both are weighed.

Nothing in it is code: a field is a name, not an expression, and no text of it is ever run.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from danlu.errors import DanluError
from danlu.files import replace_file
from danlu.prompt.notation import LONGEST, read_notation, write_notation
from danlu.prompt.segments import Segment
from danlu.settings import Data, Settings, build
from danlu.settings.plain import MAX_DEPTH, depth

FORMAT: Literal[1] = 1
MAX_BYTES = 2**18  # of a file: a prompt is small, whatever claims to be one
Template = Annotated[tuple[Segment, ...], Field(min_length=1, max_length=64)]
Phrase = str | tuple[str, ...]  # several parts: one for each mask of the template
Together = Literal["mean", "sum", "max"]
Calibration = Literal["none", "contextual", "pmi", "batch"]
Selector = Literal["first", "random", "nearest"]
Order = Literal["given", "reversed", "shuffled"]


class Verbaliser(Settings):
    """Which words stand for which class.

    words: class -> phrases, each as it would be written in the text; the first one is written in demonstrations.
    together: how the probabilities of a class's phrases make that of the class. each_token: phrases are compared by
    their log-probability a token, not in all.
    """

    words: dict[str, tuple[Phrase, ...]]
    together: Together = "mean"
    each_token: bool = False

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        """E2303 where a class has no words or there are fewer than two; E2304 where two classes share a phrase."""
        owners: dict[tuple[str, ...], str] = {}
        if len(self.words) < 2:
            raise DanluError("E2303", found=list(self.words))
        for name, phrases in self.words.items():
            if not phrases or not all(part.strip() for phrase in phrases for part in parts_of(phrase)):
                raise DanluError("E2303", found=f"{name!r}: {list(phrases)!r}")
            for phrase in phrases:
                key = tuple(" ".join(part.split()) for part in parts_of(phrase))
                if owners.setdefault(key, name) != name:
                    raise DanluError("E2304", found=" ".join(key), classes=[owners[key], name])
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.words)

    @property
    def phrases(self) -> list[tuple[str, ...]]:
        """The phrases of all classes, one class after the other."""
        return [parts_of(phrase) for phrases in self.words.values() for phrase in phrases]

    @property
    def owners(self) -> list[int]:
        """The number of the class of each of these phrases."""
        return [number for number, phrases in enumerate(self.words.values()) for _ in phrases]


class Demonstration(Settings):
    """A solved example."""

    values: dict[str, str]
    label: str


class Demonstrations(Settings):
    """Solved examples that are shown before the question.

    pool: the rows to choose from; they are part of the prompt, so that it needs nothing else. count: how many are
    shown, 0 none. selector: the first ones, ones drawn by the seed, or for each row those most like it. balance: as
    many of each class as can be. order: as they were chosen (of the nearest, the nearest last), the other way, or
    shuffled by the seed. share: of a class's vector that its demonstrations make, in a model of two towers.
    """

    pool: tuple[Demonstration, ...] = Field((), max_length=4096)
    count: int = Field(0, ge=0, le=1024)
    selector: Selector = "first"
    order: Order = "given"
    balance: bool = True
    share: float = Field(0.5, ge=0, le=1)
    seed: int = Field(0, ge=0)


class PromptSpec(Settings):
    """A whole prompt.

    templates: one or several, whose answers are averaged; each may be given in one line, "{text} It was {mask}.".
    query: what of a row is compared with the classes by a model of two towers; its text, or picture, where empty.
    calibration: none; contextual, the classes' probabilities are divided by those for inputs without content (Zhao et
    al. 2021); pmi, by those for an empty input (Holtzman et al. 2021); batch, by their mean over the rows that are
    scored together (Zhou et al. 2023). made_by: the rules or the search that made it. length: tokens a row may have,
    where the model allows more.
    """

    format: Literal[1] = FORMAT
    templates: tuple[Template, ...] = Field(min_length=1, max_length=128)
    query: tuple[Segment, ...] = Field((), max_length=64)
    verbaliser: Verbaliser
    calibration: Calibration = "none"
    demonstrations: Demonstrations = Demonstrations()
    language: Literal["en", "zh"] = "en"
    length: int | None = Field(None, ge=8)
    made_by: tuple[str, ...] = Field((), max_length=256)

    @field_validator("templates", mode="before")
    @classmethod
    def _read_lines(cls, value: Any) -> Any:
        listed = [value] if isinstance(value, str) else value
        return (
            [read_notation(each) if isinstance(each, str) else each for each in listed] if _is_list(listed) else value
        )

    @field_validator("query", mode="before")
    @classmethod
    def _read_line(cls, value: Any) -> Any:
        return read_notation(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """E2302 where a template has no place for an answer, or of both kinds; E2308 where phrases have another number
        of parts than it has masks; E2310 where demonstrations are shown of an empty pool, or of unknown classes."""
        wanted = {len(phrase) for phrase in self.verbaliser.phrases}
        for template in self.templates:
            places = places_of(template)
            if not places or {"mask", "label"} <= {segment.kind for segment in template}:
                raise DanluError("E2302", found=write_notation(template))
            if wanted != {places}:
                raise DanluError("E2308", found=sorted(wanted), places=places, template=write_notation(template))
        shown = self.demonstrations
        strange = sorted({each.label for each in shown.pool} - set(self.verbaliser.words))
        if strange or (shown.count and not shown.pool):
            raise DanluError("E2310", found=strange or shown.count, possible=list(self.verbaliser.words))
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        return self.verbaliser.classes

    @property
    def template(self) -> tuple[Segment, ...]:
        """The first template."""
        return self.templates[0]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that a row has to have."""
        segments = [segment for template in (*self.templates, self.query) for segment in template]
        return tuple(dict.fromkeys(segment.name for segment in segments if segment.kind == "field"))

    @property
    def soft(self) -> dict[str, int]:
        """The names of its soft segments, and how many vectors each has."""
        segments = [segment for template in (*self.templates, self.query) for segment in template]
        return {segment.name: segment.count for segment in segments if segment.kind == "soft"}

    @property
    def lines(self) -> list[str]:
        """Its templates, each in one line, for people."""
        return [write_notation(template) for template in self.templates]

    def but(self, **changes: Any) -> "PromptSpec":
        """The same prompt with some parts changed, and checked again."""
        return build(PromptSpec, self.model_dump() | changes, where="prompt")

    def to_json(self) -> str:
        data = {"format": FORMAT} | self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps({name: value for name, value in data.items() if value != ""}, ensure_ascii=False, indent=1)

    def write(self, path: str | Path) -> None:
        """E2301 where it would be larger than one may be that is read."""
        text = self.to_json()
        if len(text.encode()) > MAX_BYTES:
            raise DanluError("E2301", where=path, found=f"{len(text.encode())} bytes", possible=f"<= {MAX_BYTES} bytes")
        replace_file(Path(path), text)

    @field_serializer("templates", when_used="json")
    def _plain_templates(self, value: tuple[tuple[Segment, ...], ...]) -> list[Any]:
        return [_plain(template) for template in value]

    @field_serializer("query", when_used="json")
    def _plain_query(self, value: tuple[Segment, ...]) -> Any:
        return _plain(value)


def read_spec(path: str | Path) -> PromptSpec:
    """The prompt that a file holds. E2301 where it is no file of a prompt; else as `spec_of`."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ValueError(f"> {MAX_BYTES} bytes")
        data = json.loads(raw.decode("utf8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DanluError("E2301", where=path, found=str(error) or type(error).__name__) from error
    return spec_of(data, path)


def spec_of(data: Any, where: object = "prompt") -> PromptSpec:
    """The prompt that plain data describes. E2301 where it is no mapping, nested too deep or of a newer version; E1101
    to E1104 for single settings, E2302 to E2310 for what does not fit together."""
    if not isinstance(data, Mapping) or depth(data) > MAX_DEPTH:
        raise DanluError("E2301", where=where, found=f"{type(data).__name__}, {depth(data)} deep")
    if data.get("format", FORMAT) != FORMAT:
        raise DanluError("E2301", where=where, found=f"format {data['format']}", possible=FORMAT)
    plain: Data = {str(name): value for name, value in data.items()}
    return build(PromptSpec, plain, where=str(where))


def distinct(specs: Iterable[PromptSpec]) -> list[PromptSpec]:
    """Each prompt once, the first of those that differ in nothing but who made them."""
    found: dict[str, PromptSpec] = {}
    for spec in specs:
        found.setdefault(spec.model_copy(update={"made_by": ()}).to_json(), spec)
    return list(found.values())


def parts_of(phrase: Phrase) -> tuple[str, ...]:
    """A phrase as its parts, one for each mask."""
    return (phrase,) if isinstance(phrase, str) else tuple(phrase)


def places_of(template: Sequence[Segment]) -> int:
    """How many parts a phrase has: one for each mask, or one that is written wherever the label stands."""
    masks = sum(segment.kind == "mask" for segment in template)
    return masks or int(any(segment.kind == "label" for segment in template))


def _plain(template: tuple[Segment, ...]) -> Any:
    """A template as a line, where it reads back from one."""
    line = write_notation(template)
    if len(line) <= LONGEST and read_notation(line) == template:
        return line
    return [segment.model_dump(mode="json", exclude_defaults=True) | {"kind": segment.kind} for segment in template]


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))
