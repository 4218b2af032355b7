"""Every road to a score is the one plain road: each token of each phrase asked for in a row of its own."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from danlu.models.sequence_to_sequence import SequenceToSequence
from danlu.prompt.causal import CausalScorer
from danlu.prompt.masked import MaskedScorer
from danlu.prompt.scorer import Scorer
from danlu.prompt.spec import PromptSpec
from danlu.prompt.template import Rendered, Renderer
from danlu.prompt.worded import WordScorer, words_of
from danlu.tasks.task import Row

ScorerOf = Callable[[str], Scorer]

WORDS = {"words": {"positive": ["great", "very good"], "negative": ["terrible", "bad", "very bad"]}}
POOL = [
    {"values": {"text": "It was great fun."}, "label": "positive"},
    {"values": {"text": "dull"}, "label": "negative"},
]
SPECS = {
    "last": {"templates": ["Review: {text} Sentiment: {mask}"], "verbaliser": WORDS},
    "middle": {"templates": ["{text} It was {mask}."], "verbaliser": WORDS},
    "first": {"templates": ["{mask} film: {text}"], "verbaliser": WORDS},
    "shown": {
        "templates": ["{demos}Review: {text} Sentiment: {mask}"], "verbaliser": WORDS,
        "demonstrations": {"pool": POOL * 3, "count": 4},
    },
    "parts": {
        "templates": ["{mask}: {text} It was {mask}."],
        "verbaliser": {"words": {"positive": [["very good", "great"]], "negative": [["bad", "a terrible plot"]]}},
    },
    "channel": {"templates": ["It was {label}. {text}"], "verbaliser": WORDS},
}  # fmt: skip
FAMILIES = ["bert", "roberta", "gpt2", "gpt3", "llama", "mistral", "opt", "palm", "t5", "bart"]


@torch.inference_mode()
def plainly(scorer: WordScorer, spec: PromptSpec, rows: Sequence[Row]) -> Tensor:
    """The log-probability of each phrase, one row, one phrase, one token and one whole forward at a time: (N, P)."""
    words = words_of(spec.verbaliser, spec.template, scorer.spelling)
    room = scorer.room(spec) - max(sum(map(len, parts)) for parts in words)
    renderer = Renderer(spec.template, spec.verbaliser, scorer.spelling, room)
    rendered = renderer.render(rows, [list(spec.demonstrations.pool[:4])] * len(rows))
    return torch.tensor(
        [[one(scorer, row, parts, spec.made_by[0] in ("first", "parts")) for parts in words] for row in rendered]
    )


def one(scorer: WordScorer, row: Rendered, parts: Sequence[Sequence[int]], on: bool) -> float:
    if isinstance(scorer, MaskedScorer):
        return by_masks(scorer, row, parts)
    if isinstance(scorer, CausalScorer):
        return by_writing(scorer, row, parts, on)
    return by_answering(scorer, row, parts)


def by_masks(scorer: MaskedScorer, row: Rendered, parts: Sequence[Sequence[int]]) -> float:
    total, filled = 0.0, [[scorer.mask] * len(part) for part in parts]
    for which, part in enumerate(parts):
        for step, token in enumerate(part):
            tokens, starts = row.filled(filled)
            logits = scorer.model(torch.tensor([scorer.tokenizer.frame(tokens)]))[0]
            place = len(scorer.tokenizer.prefix) + starts[which] + step
            total += float(logits[place].log_softmax(-1)[token])
            filled[which][step] = token
    return total


def by_writing(scorer: CausalScorer, row: Rendered, parts: Sequence[Sequence[int]], on: bool) -> float:
    tokens, starts = row.filled(parts)
    label = row.gaps[0].kind == "label"
    begin = starts[0] + (len(parts[0]) if label else 0)
    end = len(tokens) if on or label else starts[-1] + len(parts[-1])
    chances = scorer.model(torch.tensor([scorer.first + tokens]))[0].log_softmax(-1)
    return sum(float(chances[len(scorer.first) + at - 1, tokens[at]]) for at in range(begin, end))


def by_answering(scorer: WordScorer, row: Rendered, parts: Sequence[Sequence[int]]) -> float:
    assert isinstance(scorer.model, SequenceToSequence)
    tokenizer, start = scorer.tokenizer, scorer.model.config.start
    total = 0.0
    if tokenizer.sentinels:
        marks = [[each] for each in tokenizer.sentinels[: len(parts)]]
        source, _ = row.filled(marks)
        written: list[int] = [start]
        for mark, part in zip(marks, parts, strict=True):
            written += mark
            for token in part:
                logits = scorer.model(torch.tensor([tokenizer.frame(source)]), torch.tensor([written]))
                total += float(logits[0, -1].log_softmax(-1)[token])
                written.append(token)
        return total
    masked, _ = row.filled([[tokenizer.special["mask"]]] * len(parts))
    whole, starts = row.filled(parts)
    asked = {start + at for start, part in zip(starts, parts, strict=True) for at in range(len(part))}
    for at in sorted(asked):
        written = [start, *tokenizer.prefix, *whole[:at]]
        logits = scorer.model(torch.tensor([tokenizer.frame(masked)]), torch.tensor([written]))
        total += float(logits[0, -1].log_softmax(-1)[whole[at]])
    return total


def worded(scorer: Scorer) -> WordScorer:
    assert isinstance(scorer, WordScorer)
    return scorer


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("family", FAMILIES)
def test_shared_cached_and_batched_as_plainly(scorer_of: ScorerOf, rows: list[Row], family: str, name: str) -> None:
    scorer = worded(scorer_of(family))
    spec = PromptSpec.model_validate(SPECS[name] | {"made_by": [name]})
    if name == "channel" and not isinstance(scorer, CausalScorer):
        return
    plain = plainly(scorer, spec, rows)
    torch.testing.assert_close(scorer.phrases(spec, rows), plain, atol=1e-5, rtol=1e-5)
    scorer.budget = 60  # a row or two at once
    torch.testing.assert_close(scorer.phrases(spec, rows), plain, atol=1e-5, rtol=1e-5)
    for number, row in enumerate(rows):  # alone
        torch.testing.assert_close(scorer.phrases(spec, [row])[0], plain[number], atol=1e-5, rtol=1e-5)
    forward = scorer.forward(spec, rows)
    assert forward.requires_grad
    torch.testing.assert_close(forward.detach(), scorer.scores(spec, rows), atol=1e-5, rtol=1e-5)
