"""Writing token by token: greedy or sampled, many rows at once, with a cache.

Rows are padded on the left, so that all of them write at the same place; padding is neither seen nor counted, and a
row's text does not depend on the rows beside it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from danlu.data.order import uniforms
from danlu.errors import Both, DanluError
from danlu.generate.rest import at_rest
from danlu.generate.rows import check_lengths, limit, padded_left
from danlu.generate.sampling import STEPS, SamplingSettings, choose
from danlu.models.build import TextModel
from danlu.models.sequence_to_sequence import SequenceToSequence

Step = Mapping[int, int]  # row -> the token it just wrote, for the rows that are still writing
CHANCE = 0x67656E  # the stream of chance that belongs to writing


class GenerateSettings(SamplingSettings):
    """How long, how boldly, how carefully."""

    max_new_tokens: int = Field(64, ge=1)
    beams: int = Field(1, ge=1)  # above 1: the likeliest whole text among so many kept in mind, without sampling
    length_penalty: float = 1.0  # of beams: above 0 favours longer texts
    seed: int = Field(0, ge=0)  # the same seed, the same text

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.beams > 1 and any(getattr(self, name) != neutral for name, neutral, _ in STEPS):
            raise ValueError(
                Both(
                    "beams without temperature, top_k, top_p or penalty: they look for the likeliest text",
                    "beams 不与 temperature、top_k、top_p、penalty 同用：束搜索找的是最可能的文本",
                )
            )
        return self


class Writer:
    """A model in the middle of writing: takes tokens, gives the logits of what comes next.

    `texts` are what it goes on from: the prompts, or the start of the target where the prompts are sources. images: of
    each prompt the pictures that it has placeholders for, (F, 3, height, width).
    """

    def __init__(
        self, model: TextModel, prompts: Sequence[Sequence[int]], new: int, images: Sequence[Tensor] | None = None
    ):
        device = next(model.parameters()).device
        self.model = model
        tokens, valid = padded_left(prompts, device)
        if isinstance(model, SequenceToSequence):
            self.source_valid = valid
            self.memory: Tensor | None = model.encode(tokens, valid)
            self.prompt = torch.full((len(prompts), 1), model.config.start, device=device)
            self.prompt_valid = None
            self.texts: Sequence[Sequence[int]] = [[model.config.start]] * len(prompts)
        else:
            self.memory = self.source_valid = None
            self.prompt, self.prompt_valid = tokens, valid
            self.texts = prompts
        self.cache = model.new_cache(self.prompt.shape[1] + new)
        self.seen = {} if images is None else {"images": pad_sequence(list(images), True).to(device)}

    def begin(self) -> Tensor:
        """Read the prompts: (B, V)."""
        return self._next(self.prompt, self.prompt_valid, **self.seen)

    def write(self, tokens: Tensor) -> Tensor:
        """(B,) -> (B, V)."""
        return self._next(tokens[:, None], None)

    def reorder(self, index: Tensor) -> None:
        """Row i goes on from what row index[i] has written; rows not named are forgotten."""
        self.cache.reorder(index)
        if self.memory is not None:
            self.memory = self.memory.index_select(0, index)
        if self.source_valid is not None:
            self.source_valid = self.source_valid.index_select(0, index)

    def _next(self, tokens: Tensor, valid: Tensor | None, **seen: Tensor) -> Tensor:
        if isinstance(self.model, SequenceToSequence):
            hidden = self.model.hidden(None, tokens, self.source_valid, memory=self.memory, cache=self.cache)
        else:
            hidden = self.model.hidden(tokens, valid, cache=self.cache, **seen)
        logits: Tensor = self.model.head(hidden[:, -1])
        return logits.float()


def write(
    model: TextModel, prompts: Sequence[Sequence[int]], settings: GenerateSettings, ends: Collection[int],
    rows: Sequence[int] = (), images: Sequence[Tensor] | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Write on from each prompt (the source, for an encoder-decoder), one step of all unfinished rows at a time.

    A row ends after a token of `ends`, after `max_new_tokens`, or where the model's length ends. `rows` are the numbers
    that chance and the steps know the prompts by; 0, 1, 2 ... where none are given. images: as of a `Writer`.
    E1802 for a model that cannot write, E1803 where a prompt leaves no room, E1804 for an empty one.
    """
    names = list(rows) or list(range(len(prompts)))
    room = check_room(model, prompts, settings.max_new_tokens)
    chances = torch.from_numpy(uniforms(settings.seed, 0, names, max(room), CHANCE))
    with at_rest(model):
        writer = Writer(model, prompts, max(room), images)
        logits = writer.begin()
        seen = _seen(writer.texts, logits) if settings.repetition_penalty != 1.0 else None
    places = list(range(len(prompts)))  # which prompt stands in each row of the batch
    writing = [True] * len(prompts)
    for count in range(max(room)):
        tokens = choose(logits, settings, chances[places, count].to(logits.device), seen)
        written = tokens.tolist()
        yield {names[place]: token for place, token in zip(places, written, strict=True) if writing[place]}
        for place, token in zip(places, written, strict=True):
            writing[place] = writing[place] and token not in ends and count + 1 < room[place]
        left = [row for row, place in enumerate(places) if writing[place]]
        if not left:
            return
        with at_rest(model):  # not while the reader of the steps has the floor
            # Finished rows go on unheard until it pays to leave them behind; a row at the model's end cannot go on.
            if len(left) <= 0.75 * len(places) or any(count + 1 >= room[place] for place in places):
                index = torch.tensor(left, device=logits.device)
                writer.reorder(index)
                tokens, places = tokens[index], [places[row] for row in left]
                seen = None if seen is None else seen[index]
            if seen is not None:
                seen = seen.scatter(1, tokens[:, None], True)
            logits = writer.write(tokens)


def check_room(model: TextModel, prompts: Sequence[Sequence[int]], wanted: int) -> list[int]:
    """How many tokens each row may write. E1802 for a model that fills masks, E1803 and E1804 as of `write`."""
    if not model.config.causal:
        raise DanluError("E1802")
    if not all(prompts):
        raise DanluError("E1804")
    answers, lengths = isinstance(model, SequenceToSequence), list(map(len, prompts))
    check_lengths(model, lengths if answers else [length + 1 for length in lengths])
    length = limit(model) or max(lengths) + wanted
    return [min(wanted, length if answers else length - own) for own in lengths]


def _seen(texts: Sequence[Sequence[int]], logits: Tensor) -> Tensor:
    """Which tokens of the vocabulary stand in each row: (B, V)."""
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    for row, text in enumerate(texts):
        seen[row, list(text)] = True
    return seen.to(logits.device)
