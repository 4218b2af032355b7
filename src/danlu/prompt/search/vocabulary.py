"""Words that a model knows: which are like another, and which it expects where a class's word stands."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch

from danlu.prompt.scorer import Scorer
from danlu.prompt.search.ground import Ground
from danlu.prompt.search.pieces import Pieces, is_hole, like
from danlu.prompt.spec import parts_of

NEAR = 20  # words like each of a class's own that a model is asked about
WORD = re.compile(r"[^\W\d_]{2,}")
Answer = Callable[[Any, Callable[[], tuple[Any, int]]], Any]  # see `Ledger.answer`


class Vocabulary:
    """The single tokens of a model that are whole words."""

    def __init__(self, scorer: Scorer):
        self.scorer = scorer

    @cached_property
    def words(self) -> dict[str, int]:
        """Lower-case word -> its id; each is spelled by that one token."""
        tokenizer, spelling = self.scorer.tokenizer, self.scorer.spelling
        texts = {number: tokenizer.decode([number]).strip() for number in range(tokenizer.vocabulary)}
        likely = {text: number for number, text in texts.items() if WORD.fullmatch(text) and text == text.lower()}
        spelled = spelling.spell([f" {text}" for text in likely])
        return {text: ids[0] for text, ids in zip(likely, spelled, strict=True) if len(ids) == 1}

    def near(self, word: str, count: int) -> list[str]:
        """The words whose vectors point most nearly where this one's does; none for a word that is no single token."""
        number = self.words.get(word.lower())
        if number is None:
            return []
        names, table = self._directions
        alike = table @ table[names.index(word.lower())]
        order = alike.argsort(descending=True, stable=True)[: count + 1].tolist()
        return [names[at] for at in order if names[at] != word.lower()][:count]

    @cached_property
    def _directions(self) -> tuple[list[str], torch.Tensor]:
        table = self.scorer.tables[0].weight.detach().float().cpu()
        chosen = table[torch.tensor(list(self.words.values()), dtype=torch.long)]
        return list(self.words), torch.nn.functional.normalize(chosen, dim=1)


def synonyms(vocabulary: Vocabulary, count: int = 8) -> Callable[[Pieces, int], list[str]]:
    """What may stand in a piece's place: words like it, nothing for a hole or a mark."""

    def of(pieces: Pieces, place: int) -> list[str]:
        piece = pieces[place]
        return [] if is_hole(piece) else [like(piece, word) for word in vocabulary.near(piece.strip(), count)]

    return of


def label_options(ground: Ground, vocabulary: Vocabulary, answer: Answer, count: int = 8) -> list[list[str]]:
    """For each class phrases that may stand for it: its own first, then the same with another last word. Those come
    first that the model expects in the rows of that class, and not in the others (the likelihood ratio of Schick et al.
    2020). Only words like the class's own are asked about: with few rows, some of many words always seem to fit."""
    own = [[" ".join(parts_of(phrase)) for phrase in phrases] for phrases in ground.hand.verbaliser.words.values()]
    near = [[other for each in phrases for other in _alike(each, vocabulary)] for phrases in own]
    asked = _distinct(ground, [each for phrases in (*own, *near) for each in phrases])
    ratios = torch.tensor(answer({"expected": asked}, lambda: _expected(ground, asked)))  # (C, phrases)
    options = []
    for phrases, others, ratio in zip(own, near, ratios, strict=True):
        ranked = sorted({each for each in others if each in asked}, key=lambda each: (-ratio[asked.index(each)], each))
        options.append(list(dict.fromkeys([*phrases, *ranked]))[:count])
    return options


def _alike(phrase: str, vocabulary: Vocabulary) -> list[str]:
    """The phrase with words like its last one in that one's place."""
    *before, last = phrase.split(" ")
    return [" ".join([*before, like(last, word)]) for word in vocabulary.near(last, NEAR)]


def _distinct(ground: Ground, phrases: Sequence[str]) -> list[str]:
    """Each phrase once; of those with the same tokens the first."""
    unique = list(dict.fromkeys(phrases))
    spelled = ground.scorer.spelling.spell([f" {phrase}" for phrase in unique])
    return list({tuple(ids): each for ids, each in zip(reversed(spelled), reversed(unique), strict=True)}.values())[
        ::-1
    ]


def _expected(ground: Ground, asked: Sequence[str]) -> tuple[list[list[float]], int]:
    """By how much likelier each word is in the rows of each class than in all rows, in nats: classes x words."""
    before = ground.scorer.tokens_spent
    spec = ground.hand.but(
        templates=[ground.hand.template], verbaliser={"words": {word: (word,) for word in asked}},
        calibration="none", demonstrations={},
    )  # fmt: skip
    logs = ground.scorer.scores(spec, ground.pool)
    means = [logs[some].mean(0) if some else logs.mean(0) for some in ground.by_class(ground.pool)]
    ratios = torch.stack(means) - logs.mean(0)
    return ratios.double().round(decimals=6).tolist(), ground.scorer.tokens_spent - before
