"""How likely a model holds given tokens to be: the ground of scoring texts, choosing answers, perplexity.

Rows are sorted by length and batched by tokens, the vocabulary is looked at only where a target is asked for, and
logits live only for a chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from danlu.data.batch import IGNORED
from danlu.generate.rest import at_rest
from danlu.generate.rows import BUDGET, batches, check_lengths, padded_right
from danlu.models.build import TextModel
from danlu.models.sequence_to_sequence import SequenceToSequence
from danlu.nn.heads import LanguageHead

CHUNK_ELEMENTS = 2**25  # of logits at once
BLOCK_ELEMENTS = 2**20  # of float32 scores at once, so that they stay in the cache


@dataclass(frozen=True)
class Question:
    """A row for a model, and which tokens it should have answered where; IGNORED where nothing is asked."""

    tokens: Sequence[int]
    targets: Sequence[int]
    source: Sequence[int] = ()  # of an encoder-decoder


@dataclass(frozen=True)
class Answers:
    """For each target asked for, in order: its log-probability in nats, and whether no token was likelier."""

    log_probability: Tensor
    right: Tensor

    @property
    def total(self) -> float:
        return float(self.log_probability.sum(dtype=torch.float64))


def ask(model: TextModel, questions: Sequence[Question], bf16: bool = False, budget: int = BUDGET) -> list[Answers]:
    """The answers to each question, in the order of the questions. `bf16`: matrix products in that format.

    E1803 for a row that is longer than the model reads.
    """
    answers: dict[int, Answers] = {}
    lengths = [max(len(each.tokens), len(each.source)) for each in questions]
    check_lengths(model, lengths)
    for rows in batches(lengths, budget):
        asked = [questions[row] for row in rows]
        with at_rest(model) as device:
            log_probability, right = _answer(model, asked, device, bf16)
        counts = [sum(target != IGNORED for target in each.targets) for each in asked]
        parts = zip(torch.split(log_probability, counts), torch.split(right, counts), strict=True)
        answers |= {row: Answers(*part) for row, part in zip(rows, parts, strict=True)}
    return [answers[row] for row in range(len(questions))]


def judge(head: LanguageHead, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """hidden (N, D), targets (N,) -> log-probability of each target (N,) float32, and whether none is likelier (N,).

    (N, V) never exists at once.
    """
    features, output = head.features(hidden), head.output
    likely = torch.empty(len(targets), device=hidden.device)
    right = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
    many = max(1, CHUNK_ELEMENTS // output.out_features)
    few = many if hidden.device.type != "cpu" else max(1, BLOCK_ELEMENTS // output.out_features)
    for start in range(0, len(targets), many):
        logits = output(features[start : start + many])
        for at in range(0, len(logits), few):
            place = slice(start + at, min(start + at + few, start + many))
            scores = logits[at : at + few].float()
            score = scores.gather(1, targets[place, None])
            likely[place] = (score - scores.logsumexp(1, keepdim=True)).squeeze(1)
            right[place] = (score >= scores.amax(1, keepdim=True)).squeeze(1)
    return likely, right


def causal_question(ids: Sequence[int], first: Sequence[int] = ()) -> Question:
    """Every token after what stands before it. `first` stands before all; without it the first token is not asked."""
    row = [*first, *ids]
    asked = [IGNORED] * (len(first) - 1) + list(ids) if first else list(ids[1:])
    return Question(row[:-1], asked)


def masked_questions(framed: Sequence[int], mask: int, kept: frozenset[int] = frozenset()) -> list[Question]:
    """A row for each token but the `kept` ones (specials), with that token masked (Salazar et al. 2020)."""
    questions = []
    for place, token in enumerate(framed):
        if token not in kept:
            row = [*framed[:place], mask, *framed[place + 1 :]]
            questions.append(Question(row, [token if at == place else IGNORED for at in range(len(framed))]))
    return questions


def _answer(model: TextModel, questions: Sequence[Question], device: torch.device, bf16: bool) -> tuple[Tensor, Tensor]:
    tokens, valid = padded_right([each.tokens for each in questions], device)
    targets, _ = padded_right([each.targets for each in questions], device, IGNORED)
    place = (targets != IGNORED).flatten().nonzero().squeeze(1)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        if isinstance(model, SequenceToSequence):
            source, source_valid = padded_right([each.source for each in questions], device)
            hidden = model.hidden(source, tokens, source_valid)
        else:  # a decoder's targets never see what is padded after them
            hidden = model.hidden(tokens, None if model.config.causal else valid)
        likely, right = judge(model.head, hidden.flatten(0, 1)[place], targets.flatten()[place])
    return likely.cpu(), right.cpu()
