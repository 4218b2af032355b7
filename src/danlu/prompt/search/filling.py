"""Templates that an encoder–decoder with sentinels (T5) writes around the label words of known rows (LM-BFF, Gao et al.
2021, section 5.2): the likeliest over all rows together."""

from collections.abc import Sequence

import torch

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.rest import at_rest
from danlu.generate.rows import padded_right
from danlu.models.sequence_to_sequence import SequenceToSequence
from danlu.prompt.search.ground import Ground
from danlu.prompt.spec import parts_of

SPANS = 2  # before the label's word, and behind it


def written(ground: Ground, writer: Checkpoint, *, beams: int = 20, longest: int = 12) -> tuple[list[str], int]:
    """Templates in one line, the likeliest first, and the tokens that were read for them.

    Each row is shown as `text <0> word <1>`; what is written for <0> and <1> stands around the answer. beams: how many
    templates. longest: tokens of both together. E2353 where the writer has no sentinels.
    """
    tokenizer, model = writer.tokenizer, writer.model
    if tokenizer is None or len(tokenizer.sentinels) <= SPANS or not isinstance(model, SequenceToSequence):
        raise DanluError("E2353", where=writer.where, found=writer.family.name)
    field = (ground.hand.fields or ("text",))[0]
    words = {name: " ".join(parts_of(phrases[0])) for name, phrases in ground.hand.verbaliser.words.items()}
    rows = [
        tokenizer.frame([
            *tokenizer.encode(str(row.values[field]))[: 3 * longest * SPANS], tokenizer.sentinels[0],
            *tokenizer.encode(words[row.values["label"]]), tokenizer.sentinels[1],
        ])
        for row in ground.pool
    ]  # fmt: skip
    with at_rest(model) as device:
        specials = [*tokenizer.special.values(), *tokenizer.sentinels]
        found, tokens = _likeliest(model, rows, tokenizer.sentinels[: SPANS + 1], specials, beams, longest, device)
    mask = "{mask}" if "{mask}" in ground.hand.lines[0] else "{label}"
    opening = f"{{{field}}} " if ground.hand.fields else ""  # a model that compares is not shown the row
    lines = []
    for before, after in found:
        around = [tokenizer.decode(list(part)).strip().replace("{", "").replace("}", "") for part in (before, after)]
        lines.append(f"{opening}{around[0]} {mask}{_close(around[1])}".strip())
    return list(dict.fromkeys(lines)), tokens


def _close(text: str) -> str:
    """A mark stands close behind the answer, a word apart."""
    return text if not text or not text[0].isalnum() else f" {text}"


Spans = tuple[tuple[int, ...], tuple[int, ...]]


def _likeliest(
    model: SequenceToSequence, rows: Sequence[Sequence[int]], sentinels: Sequence[int], specials: Sequence[int],
    beams: int, longest: int, device: torch.device,
) -> tuple[list[Spans], int]:  # fmt: skip
    """Beam search on the log-probability summed over all rows."""
    source, valid = padded_right(rows, device)
    memory = model.encode(source, valid)
    read = sum(map(len, rows))
    held: list[tuple[float, tuple[int, ...]]] = [(0.0, (model.config.start, sentinels[0]))]
    done: list[tuple[float, tuple[int, ...]]] = []
    for _ in range(longest + SPANS):
        further = []
        for value, tokens in held:
            target = torch.tensor([tokens], device=device).expand(len(rows), -1)
            logs = model.head(model.hidden(None, target, valid, memory=memory)[:, -1]).float().log_softmax(-1).mean(0)
            read += len(rows) * len(tokens)
            turn = sentinels[sum(token in sentinels for token in tokens)]  # the one that may follow
            closed = torch.tensor([token for token in specials if token != turn], device=device)
            best = logs.index_fill(0, closed, -torch.inf).topk(beams)
            further += [
                (value + gain, (*tokens, token))
                for gain, token in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
        further.sort(key=lambda each: -each[0])
        done += [each for each in further[:beams] if each[1][-1] == sentinels[SPANS]]
        held = [each for each in further if each[1][-1] != sentinels[SPANS]][:beams]
    done += [(value, _closed(tokens, sentinels)) for value, tokens in held]
    ranked = sorted(done, key=lambda each: -each[0] / len(each[1]))[:beams]
    return [_spans(tokens[1:], sentinels) for _, tokens in ranked], read


def _closed(tokens: tuple[int, ...], sentinels: Sequence[int]) -> tuple[int, ...]:
    """Spans that were not ended, ended."""
    return (*tokens, *(each for each in sentinels if each not in tokens))


def _spans(tokens: Sequence[int], sentinels: Sequence[int]) -> Spans:
    at = tokens.index(sentinels[1])
    return tuple(tokens[1:at]), tuple(tokens[at + 1 : -1])
