"""A language model that sees, put to use: it answers questions about pictures and films, and describes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from danlu.checkpoint import Checkpoint
from danlu.data.pictures.sheets import Sheet
from danlu.errors import DanluError
from danlu.generate.decode import GenerateSettings
from danlu.generate.engine import Engine
from danlu.generate.matching import Matcher, Picture, opened
from danlu.models.multimodal import MultimodalModel
from danlu.settings import build
from danlu.vision.film import SUFFIXES as FILMS
from danlu.vision.film import open_film
from danlu.vision.processor import Processor

FRAMES = 8  # of a film, where the model's length does not say less
ROOM = 2048  # tokens, where a model has no length of its own
BRIEF = {"temperature": 0.0, "max_new_tokens": 32}


class Seer(Engine):
    """An engine with eyes. Pictures are paths, bytes or Pillow's; a film is a path of one, or a list of frames."""

    model: MultimodalModel

    def __init__(self, checkpoint: Checkpoint):
        super().__init__(checkpoint)
        if not isinstance(checkpoint.model, MultimodalModel) or checkpoint.processor is None:
            raise DanluError("E2214", where=checkpoint.where, found=checkpoint.family.name)
        self.model = checkpoint.model
        self.processor: Processor = checkpoint.processor

    @property
    def matcher(self) -> Matcher:
        """The common space of texts and pictures. E2214 where the model has none."""
        return Matcher(self.checkpoint)

    def sheet(self, frames: int = 1, length: int | None = None) -> Sheet:
        """How rows about a picture, or a film, are written. E2215 where it leaves no room for words; E1920 where the
        tokenizer has no end."""
        if "end" not in self.tokenizer.special:
            raise DanluError("E1920", where=self.checkpoint.where)
        config = self.model.config
        room = min(length or ROOM, config.length or ROOM)
        stem = (*self.tokenizer.prefix, *self.model.stem(frames))
        if len(stem) + len(config.after) + 2 > room:
            raise DanluError("E2215", where=self.checkpoint.where, found=len(stem), possible=room, frames=frames)
        return Sheet(stem, config.after, self.tokenizer.special["end"], room)

    @overload
    def ask(self, picture: Picture | Sequence[Picture], question: str, **settings: Any) -> str: ...
    @overload
    def ask(self, picture: list[Any], question: list[str], **settings: Any) -> list[str]: ...
    def ask(self, picture: Any, question: str | list[str], **settings: Any) -> str | list[str]:
        """The answer to a question about a picture, or film; of lists, to each about its own. settings:
        GenerateSettings; the likeliest answer where nothing is said."""
        alone = isinstance(question, str)
        seen = [self.numbers(each) for each in ([picture] if alone else picture)]
        questions = [question] if isinstance(question, str) else question
        answers = self.answers(seen, questions, build(GenerateSettings, BRIEF, settings))
        return answers[0] if alone else answers

    def describe(self, picture: Picture | Sequence[Picture], **settings: Any) -> str:
        """What the model says of a picture, or film, unasked."""
        return self.ask(picture, "", **settings)

    def answers(self, images: Sequence[Tensor], questions: Sequence[str], settings: GenerateSettings) -> list[str]:
        """images: (F, 3, height, width) each."""
        ids = self.tokenizer.encode_many(list(questions))
        prompts = [
            self.sheet(len(image)).prompt(question) for image, question in zip(images, ids, strict=True)
        ]  # fmt: skip
        return [self.tokenizer.decode(each).strip() for each in self.write(prompts, settings, images)]

    def numbers(self, picture: Picture | Sequence[Picture]) -> Tensor:
        """A picture, or the frames of a film, as the model takes them: (F, 3, height, width). E2201 to E2212."""
        if isinstance(picture, (str, Path)) and str(picture).lower().endswith(FILMS):
            place = Path(picture)
            if not place.is_file():
                raise DanluError("E1201", where=place)
            frames: list[Any] = open_film(place.read_bytes(), self.frames, place, place.suffix)
        else:
            frames = list(picture) if isinstance(picture, (list, tuple)) else [picture]
        return torch.from_numpy(np.stack([self.processor(opened(each)) for each in frames]))

    @property
    def frames(self) -> int:
        """How many frames of a film are looked at: as the model was trained, if it says."""
        told = self.checkpoint.lineage.get("frames")
        return told if isinstance(told, int) and told > 0 else FRAMES
