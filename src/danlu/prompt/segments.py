"""What templates are made of."""

from typing import Annotated, Literal

from pydantic import Field

from danlu.settings import Settings

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\s{}\[\]:]+$")]


class Text(Settings):
    """The same in every row. Special tokens written in it are only letters."""

    kind: Literal["text"] = "text"
    text: str = Field(min_length=1, max_length=20_000)


class FieldOf(Settings):
    """A value of the row. share: of the room that fields have, at most. keep: which end stays where it is too long."""

    kind: Literal["field"] = "field"
    name: Name
    share: float = Field(1.0, gt=0, le=1)
    keep: Literal["start", "end"] = "start"


class Mask(Settings):
    """Where the model answers; in a demonstration, where the answer stands."""

    kind: Literal["mask"] = "mask"


class LabelOf(Settings):
    """Where the class's phrase is written out before the model is asked: a text is then scored given its class."""

    kind: Literal["label"] = "label"


class Soft(Settings):
    """Vectors that no word has. start: the words whose vectors they begin as; drawn from the vocabulary where empty."""

    kind: Literal["soft"] = "soft"
    name: Name = "soft"
    count: int = Field(gt=0, le=256)
    start: str = Field("", max_length=2_000)


class Demos(Settings):
    """Where the demonstrations stand. between: written after each of them."""

    kind: Literal["demos"] = "demos"
    between: str = Field("\n", max_length=200)


Segment = Annotated[Text | FieldOf | Mask | LabelOf | Soft | Demos, Field(discriminator="kind")]
