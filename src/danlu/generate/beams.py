"""Beam search: the likeliest whole text, among a few kept in mind at every step."""

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from danlu.generate.decode import GenerateSettings, Writer, check_room
from danlu.generate.rest import at_rest
from danlu.models.build import TextModel

Candidate = tuple[float, int, int]  # log-probability, the beam it goes on from, the token


class Beams:
    """The unfinished texts of one prompt, and its best finished ones.

    A finished text scores (its log-probability) / (its number of tokens) ** penalty (after Wu et al. 2016, with
    the plain length). The search is over once no unfinished text can beat the worst of `size` finished ones.
    """

    def __init__(self, size: int, penalty: float):
        self.size, self.penalty, self.over = size, penalty, False
        self.texts: list[list[int]] = [[] for _ in range(size)]
        self.scores = [0.0] + [-math.inf] * (size - 1)  # all begin alike: only the first may branch
        self.finished: list[tuple[float, list[int]]] = []

    def advance(self, candidates: Sequence[Candidate], ends: Collection[int], last: bool) -> list[tuple[int, int]]:
        """Take the best 2 x size continuations, best first; returns (beam, token) of those that go on."""
        going: list[Candidate] = []
        for rank, (score, beam, token) in enumerate(candidates):
            if token in ends or last:
                if rank < self.size:
                    self._finish(score, [*self.texts[beam], token])
            elif len(going) < self.size:
                going.append((score, beam, token))
        going += [(-math.inf, 0, 0)] * (self.size - len(going))
        self.texts = [[*self.texts[beam], token] for _, beam, token in going]
        self.scores = [score for score, _, _ in going]
        best = self.scores[0] / len(self.texts[0]) ** self.penalty
        self.over |= best == -math.inf or (len(self.finished) == self.size and best <= self.finished[-1][0])
        return [(beam, token) for _, beam, token in going]

    def _finish(self, score: float, text: list[int]) -> None:
        if not self.over and score > -math.inf:
            self.finished.append((score / len(text) ** self.penalty, text))
            self.finished = sorted(self.finished, key=lambda scored: -scored[0])[: self.size]


def search(
    model: TextModel, prompts: Sequence[Sequence[int]], settings: GenerateSettings, ends: Collection[int],
    images: Sequence[Tensor] | None = None,
) -> list[list[int]]:  # fmt: skip
    """For each prompt the best text found, its end token included. images and errors as of `decode.write`."""
    size, room = settings.beams, check_room(model, prompts, settings.max_new_tokens)
    with at_rest(model) as device:
        writer = Writer(model, prompts, max(room), images)
        logits = writer.begin()
        vocabulary = logits.shape[-1]
        spread = torch.arange(len(prompts), device=device).repeat_interleave(size)
        writer.reorder(spread)
        logits = logits.index_select(0, spread)
        every = [Beams(size, settings.length_penalty) for _ in prompts]
        searching = list(enumerate(every))  # with the number of the prompt
        for count in range(1, max(room) + 1):
            scores = torch.tensor([beams.scores for _, beams in searching], device=device)
            totals = (scores[:, :, None] + logits.log_softmax(-1).view(*scores.shape, vocabulary)).flatten(1)
            best, places = totals.topk(min(2 * size, totals.shape[1]))
            index: list[int] = []
            tokens: list[int] = []
            for row, (prompt, beams) in enumerate(searching):
                spots = [divmod(place, vocabulary) for place in places[row].tolist()]
                candidates = [(score, *spot) for score, spot in zip(best[row].tolist(), spots, strict=True)]
                going = beams.advance(candidates, ends, count >= room[prompt])
                if not beams.over:
                    index += [row * size + beam for beam, _ in going]
                    tokens += [token for _, token in going]
            searching = [(prompt, beams) for prompt, beams in searching if not beams.over]
            if not searching:
                break
            writer.reorder(torch.tensor(index, device=device))
            logits = writer.write(torch.tensor(tokens, device=device))
    return [beams.finished[0][1] if beams.finished else [] for beams in every]
