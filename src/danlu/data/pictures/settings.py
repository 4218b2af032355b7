"""What can be said about pictures and their captions."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from danlu.data.settings import Paths
from danlu.files import at_home
from danlu.settings import Settings
from danlu.vision.opening import MOST_PIXELS


class PictureSettings(Settings):
    """What to read, and how.

    `paths`: folders, tables (JSONL, CSV, TSV, Parquet), tars as WebDataset makes them, zip files, `builtin:scenes`,
    `builtin:digits`, `builtin:films`. `validation`: the same, kept apart from training; where there is none, `held_out`
    of the pictures are, what is equal always on one side. `text`: the column of captions, several as `en|zh`, or a
    template such as "{title}: {body}"; `image`: the column of pictures; `question` and `answer`: those of what is asked
    about them, for models that answer. `asked`: questions about one picture in a row of such a model, at most.
    `caption`: what a class folder's name becomes, "a photo of a {name}". `broken`: the share of broken rows that is
    passed over and noted. `length`: tokens in a caption, or in a row, at most. `frames`: of a film. `crop`: the least
    share of a picture that a random crop keeps, 1 for none; `flip`: mirror every second one; both only in training.
    `pixels`: larger pictures are left out before they are decoded. `cache`: where resized pictures are kept.
    """

    paths: Paths = ()
    validation: Paths = ()
    held_out: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    text: str = "auto"
    image: str = "auto"
    question: str = "auto"
    answer: str = "auto"
    asked: int = Field(8, ge=1, le=256)
    caption: str = "{name}"
    encoding: str = "auto"
    broken: float = Field(0.01, ge=0, le=1)
    length: int | None = Field(None, ge=4)
    frames: int = Field(8, ge=1, le=256)
    crop: float = Field(1.0, gt=0, le=1)
    flip: bool = False
    pixels: int = Field(MOST_PIXELS, ge=1)
    cache: Path = Path("~/.cache/danlu")

    @property
    def cache_folder(self) -> Path:
        return at_home(self.cache)
