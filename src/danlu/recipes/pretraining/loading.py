"""From divided text to the batches of a run: rows, what is done to them, whose turn it is, and how they grow."""

from collections.abc import Mapping
from dataclasses import dataclass

from danlu.data.corpus import Corpus
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.corruption.translation import sides_apart
from danlu.data.division import Division
from danlu.data.loader import Growth, Loader
from danlu.data.turns import Batches, Course, Turns
from danlu.errors import DanluError
from danlu.models.families import Family
from danlu.recipes.pretraining.objectives import Chosen
from danlu.recipes.pretraining.stage import Pretrain
from danlu.text.tokenizer import Tokenizer
from danlu.train.pace import total_steps

TRANSLATED = "translation"


@dataclass(frozen=True)
class Part:
    """What one turn trains on, from its first row on, and is measured on."""

    training: Loader
    held_out: Loader | None
    validation: Corpus | None  # the text that is measured on
    whole: bool  # whether every token of it is asked for


@dataclass(frozen=True)
class Loading:
    """training: batches in the order of the run. held_out: each held-out row once. parts: by turn."""

    training: Loader | Course | Turns
    held_out: Batches | None
    parts: Mapping[str, Part]


def loading(
    settings: Pretrain, division: Division, tokenizer: Tokenizer, family: Family, chosen: Chosen,
    languages: tuple[str, ...] = (),
) -> Loading:  # fmt: skip
    """What is trained on, and what is measured on: rows of `length` tokens, corrupted as the settings say.

    languages: those the model tells apart.
    E1226 where rows that should come first are not shorter than those that follow.
    """
    words = Words.of(tokenizer, family.start, languages)
    streams: dict[str, Loader | Course] = {}
    parts: dict[str, Part] = {}
    translated = any(turn.corruption.get("kind") == TRANSLATED for turn in chosen.turns.values())
    for name, turn in chosen.turns.items():
        noise = settings.corruption.model_copy(update=turn.corruption)
        training, validation = division.training, division.validation
        if translated and noise.kind != TRANSLATED:  # each side of a translation is a text of its own
            separator = words.role("separator")
            training = sides_apart(training, separator)
            validation = validation and sides_apart(validation, separator)
        maker = _Maker(settings, words, noise)
        loader = maker.loader(training)
        streams[name] = maker.course(training, loader)
        held = maker.loader(validation, shuffle=False) if validation and validation.size > 1 else None
        parts[name] = Part(loader, held, validation, noise.kind == "shift")
    if len(parts) == 1:
        (name,) = parts
        return Loading(streams[name], parts[name].held_out, parts)
    held_out = {name: part.held_out for name, part in parts.items() if part.held_out}
    looks = {name: loader.steps_per_epoch for name, loader in held_out.items()}
    measured = Turns(held_out, looks) if held_out else None
    return Loading(Turns(streams, chosen.names, settings.train.accumulate), measured, parts)


@dataclass(frozen=True)
class _Maker:
    """Loaders that differ in text, length and size of batch alone."""

    settings: Pretrain
    words: Words
    noise: CorruptionSettings

    @property
    def length(self) -> int:
        return self.settings.data.length or 1024

    def loader(
        self, corpus: Corpus, shuffle: bool = True, length: int | None = None, growth: Growth | None = None
    ) -> Loader:
        """A batch has as many tokens, whatever the length of its rows."""
        rows = pack(corpus, length or self.length, self.noise, self.words)
        batch = growth.full if growth else self.settings.train.batch
        return Loader(rows, corruption(self.noise, self.words), batch, self.settings.seed, shuffle, growth)

    def course(self, corpus: Corpus, plain: Loader) -> Loader | Course:
        """Batches that grow and rows that become longer, where the settings say so; else the plain loader."""
        train = self.settings.train
        if not train.lengths and train.first_batch is None:
            return plain
        steps = total_steps(train, plain)
        batches = None if steps is None else steps * train.accumulate
        shorter = [(length, round(share * (batches or 0))) for length, share in train.lengths.items()]
        if wrong := [length for length, _ in shorter if length >= self.length]:
            raise DanluError("E1226", found=wrong, possible=f"< {self.length}")
        over = round(train.ramp * (batches or 0)) if train.ramp < 1 else round(train.ramp)
        loaders = []
        for number, (length, count) in enumerate([*shorter, (self.length, 0)]):
            times = self.length // length  # rows in the place of one
            growth = Growth((train.first_batch or train.batch) * times, train.batch * times, over if number == 0 else 0)
            loaders.append((count, self.loader(corpus, length=length, growth=growth)))
        return Course(loaders[:-1], loaders[-1][1]) if shorter else loaders[-1][1]
