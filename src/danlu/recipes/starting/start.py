"""What a START word means: a fresh model, a checkpoint, a run, or a settings file."""

import inspect
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.engine import Engine
from danlu.models.build import ModelConfig
from danlu.models.classifier import Classifier
from danlu.models.dual import DualEncoder
from danlu.models.families import Family, fresh, split_name
from danlu.models.language import LanguageModelConfig
from danlu.recipes.runs.folder import MODEL, is_run
from danlu.recipes.starting.halves import with_words
from danlu.settings import Data
from danlu.text.tokenizer import Tokenizer
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SIZE = "mini"  # of a family named without one
GUESSED_VOCABULARY = (300, 3)  # what a fresh vocabulary will have: at least, and for each root of a byte


class TokenizerChoice(TokenizerSettings):
    """A tokenizer that stands (`path`: a folder or a file), or how a fresh one is trained on the data."""

    path: Path | None = None


@dataclass(frozen=True)
class Start:
    """A model to train: a family's fresh one, or (`where`) one that has learnt already."""

    name: str
    family: Family
    size: str
    config: ModelConfig
    where: str | None = None

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that the model tells apart."""
        return languages_of(self.config)

    def with_vocabulary(self, vocabulary: int, changes: Data) -> ModelConfig:
        """The config a fresh model gets once its tokenizer is known."""
        return fresh(f"{self.family.name}-{self.size}", vocabulary, **changes)[1]


def languages_of(config: ModelConfig) -> tuple[str, ...]:
    """Those that a model has embeddings for."""
    return config.embedding.languages if isinstance(config, LanguageModelConfig) else ()


def tells_languages(word: str) -> bool:
    """Whether a START is a fresh model of a family that has embeddings for languages."""
    named = None if os.path.exists(word) else split_name(word)
    return named is not None and "languages" in inspect.signature(named[0].make).parameters


def find_start(word: str, size: str | None, changes: Data, text_bytes: int, vocabulary: Any = "auto") -> Start:
    """The model behind a START. E1401 for an unknown name, E1402 … for folders that are none; nothing heavy is read."""
    named = None if os.path.exists(word) else split_name(word)
    if named:
        family, own = named
        own = own or size or SIZE
        if size and own != size:
            raise DanluError("E1010", found=size, where=word, possible=own)
        least, each = GUESSED_VOCABULARY
        count = vocabulary if isinstance(vocabulary, int) else least + each * math.isqrt(text_bytes)
        family, config = fresh(f"{family.name}-{own}", count, **changes)
        return Start(f"{family.name}-{own}", family, own, config)
    if size or changes:
        raise DanluError("E1011", where=word, found=size or changes)
    beside = Path(word).parent
    family, config = Checkpoint.peek(Path(word) if beside != Path() and beside.is_dir() else word)  # runs/mistyped
    return Start(word, family, "", config, where=word)


def find_device(word: str) -> torch.device:
    """`auto` is the first GPU, or the CPU. E1012 for a device that is not there."""
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    possible = ["cpu", *(f"cuda:{card}" for card in range(cards))]
    if word == "auto":
        return torch.device("cuda" if cards else "cpu")
    if word not in (*possible, *(["cuda"] if cards else [])):
        raise DanluError("E1012", found=word, possible=possible)
    return torch.device(word)


def fresh_tokenizer(
    texts: Iterable[str], choice: TokenizerSettings, family: Family, voice: Voice, markers: tuple[str, ...] = ()
) -> Tokenizer:
    """Learnt from texts: cut, framed and with the special tokens as the family has them; markers: further such."""
    kind = family.tokenizer if choice.kind == "auto" else choice.kind
    pattern = family.pattern if choice.pattern == "auto" else choice.pattern
    chosen = choice.model_copy(update={"kind": kind, "pattern": pattern})
    extra = (*markers, *family.extra_tokens)
    return train_tokenizer(iter(texts), chosen, family.specials, voice, frame=family.frame, extra=extra)


def chosen_tokenizer(choice: TokenizerChoice, kept: Path | None, learn: Callable[[], Tokenizer]) -> Tokenizer:
    """The one that was given, the one an interrupted run has `kept`, or a fresh one, which is kept there."""
    if choice.path:
        return Tokenizer.read(choice.path)
    if kept and (kept / "special_tokens_map.json").is_file():  # written last
        return Tokenizer.read(kept)
    tokenizer = learn()
    if kept:
        tokenizer.write(kept)
    return tokenizer


def find_tokenizer(word: str) -> Tokenizer:
    """The tokenizer of a run, a model folder, a folder of its own, or a file."""
    place = Path(word)
    return Tokenizer.read(place / MODEL if is_run(place) else place)


def load_engine(word: str, device: str = "auto", dtype: str | None = None) -> Engine:
    """A model ready to write. E1012 for a device, E1102 for a dtype that is none, E1910 for a model that answers
    instead, E2213 for one that compares pictures; errors of `Checkpoint.load`."""
    if dtype is not None and dtype not in DTYPES:
        raise DanluError("E1102", name="dtype", found=dtype, possible=list(DTYPES))
    place = find_device(device)
    checkpoint = with_words(Checkpoint.load(word, device=place, dtype=DTYPES[dtype] if dtype else None), place)
    if isinstance(checkpoint.model, DualEncoder):
        raise DanluError("E2213", where=word, found=checkpoint.family.name)
    if isinstance(checkpoint.model, Classifier):
        raise DanluError("E1910", where=word, found=list(checkpoint.model.config.heads))
    return Engine(checkpoint)
