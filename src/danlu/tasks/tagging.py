"""A tag for each word of a sentence; Chinese by character.

Words are joined as they are written (no space between wide characters) and tokenised as a whole, so that the model sees
them as in any text; a word's tag is asked for at its first token. A sentence longer than a row becomes several.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from danlu.data.batch import IGNORED
from danlu.tasks.framing import Framing
from danlu.tasks.task import Example, Labels, Reply, Row, Task
from danlu.tasks.understanding import is_missing

WIDE = re.compile("[　-〿！-／：-＠［-｠㐀-䶿一-鿿豈-﫿぀-ヿ가-힯\U00020000-\U0003ffff]")
OUTSIDE = "O"
# What may follow what, by the letters before the dash: within an entity, and after its end.
WITHIN = {"B": "IMEL", "I": "IEL", "M": "MEL"}
CLOSED = "ESULO"  # after these an entity is over
Span = tuple[int, int]


def fit_tags(values: Mapping[str, Any]) -> Mapping[str, Any] | str:
    tokens, tags = _listed(values.get("tokens")), _listed(values.get("tags"))
    if not tokens or not all(isinstance(token, str) for token in tokens):
        return "empty" if not tokens else "not text"
    if "tags" not in values or not tags or any(is_missing(tag) for tag in tags):
        return "no label"
    if len(tokens) != len(tags):
        return "tags and words differ"
    return dict(values) | {"tokens": tokens, "tags": [str(tag) for tag in tags]}


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        return value.split()
    return list(value) if isinstance(value, (list, tuple)) else []


def tag_labels(rows: Sequence[Row]) -> Labels:
    """The outside tag first, the rest by name."""
    found = {tag for row in rows for tag in row.values["tags"]}
    return tuple(sorted(found, key=lambda tag: (tag != OUTSIDE, tag)))


def written(words: Sequence[str]) -> tuple[str, list[Span]]:
    """Words as a text, and from which character to which each goes."""
    text, spans = "", []
    for word in words:
        if text and word and not (WIDE.match(text[-1]) or WIDE.match(word[0])):
            text += " "
        spans.append((len(text), len(text) + len(word)))
        text += word
    return text, spans


def tokens_of_words(words: Sequence[str], ids: Sequence[int], offsets: Sequence[Span], spans: list[Span]) -> Any:
    """[ids of each word]; None where a token reaches over two words."""
    found: list[list[int]] = [[] for _ in words]
    word = 0
    for token, (start, end) in zip(ids, offsets, strict=True):
        while word < len(spans) and spans[word][1] <= start:
            word += 1
        if word == len(spans) or (end > spans[word][1] and start < end):
            return None
        found[word].append(token)
    return found


def encode_tags(rows: Sequence[Row], framing: Framing, labels: Labels) -> list[Example]:
    ids = {label: number for number, label in enumerate(labels)}
    texts = [written(row.values["tokens"]) for row in rows]
    encoded = framing.tokenizer.encode_with_offsets([text for text, _ in texts])
    examples = []
    for number, (row, (_, spans), (tokens, offsets)) in enumerate(zip(rows, texts, encoded, strict=True)):
        words = row.values["tokens"]
        pieces = tokens_of_words(words, tokens, offsets, spans) or framing.tokenizer.encode_many(words)
        targets = [ids.get(tag, IGNORED) for tag in row.values.get("tags", [OUTSIDE] * len(words))]
        examples += _chunks(pieces, targets, number, framing)
    return examples


def _chunks(pieces: list[list[int]], targets: list[int], number: int, framing: Framing) -> list[Example]:
    """As many rows as a sentence needs, cut between words; a word longer than a row keeps its beginning."""
    found: list[Example] = []
    prefix, room = len(framing.tokenizer.prefix), framing.room()
    tokens: list[int] = []
    wanted: list[tuple[int, int, int]] = []  # place of the first token, word, target
    lost = 0

    def close() -> None:
        framed, _ = framing.one(tokens)
        target = [IGNORED] * len(framed)
        for place, _, label in wanted:
            target[prefix + place] = label
        places = [(prefix + place, word) for place, word, _ in wanted]
        found.append(Example(framed, None, target, number, lost, places))

    for word, piece in enumerate(pieces):
        if len(tokens) + len(piece) > room and tokens:
            close()
            tokens, wanted, lost = [], [], 0
        if piece:
            wanted.append((len(tokens), word, targets[word]))
            lost += max(0, len(piece) - room)
            tokens += piece[:room]
    close()
    return found


def tag_targets(examples: Sequence[Example], length: int) -> Tensor:
    """(B, T)"""
    found = torch.full((len(examples), length), IGNORED)
    for number, example in enumerate(examples):
        found[number, : len(example.target)] = torch.tensor(example.target)
    return found


def best_tags(
    logits: Sequence[Tensor], examples: Sequence[Example], rows: Sequence[Row], labels: Labels
) -> list[Reply]:
    """logits (T, C) -> the likeliest tags of each sentence in which no entity goes on that was not begun."""
    scores = [torch.zeros(len(row.values["tokens"]), len(labels)) for row in rows]
    for logit, example in zip(logits, examples, strict=True):
        for place, word in example.places:
            scores[example.row][word] = logit[place].log_softmax(-1)
    steps = allowed(labels)
    found = []
    for score in scores:
        path = best_path(score, steps)
        chance = float(score.gather(1, path[:, None]).mean().exp()) if len(path) else 1.0
        found.append(Reply([labels[number] for number in path.tolist()], chance))
    return found


def allowed(labels: Labels) -> Tensor | None:
    """(C + 1, C + 1) what may follow what, the last standing for both ends; None where no scheme says."""
    prefixes = {label[0] for label in labels if "-" in label}
    if not prefixes & set("BS") or any("-" not in label and label != OUTSIDE for label in labels):
        return None
    count, closing = len(labels), bool(prefixes & set("ELSU"))  # schemes that mark an entity's end
    steps = torch.zeros(count + 1, count + 1, dtype=torch.bool)
    ends = (*labels, OUTSIDE)
    for one, before in enumerate(ends):
        for other, after in enumerate(ends):
            steps[one, other] = _may_follow(before, after, closing)
    return steps


def _may_follow(before: str, after: str, closing: bool) -> bool:
    (first, kind), (second, other) = (tag.split("-", 1) if "-" in tag else (tag, "") for tag in (before, after))
    inside = kind == other and second in WITHIN.get(first, "")
    if second in "IMEL":
        return inside
    return first in CLOSED or not closing


def best_path(scores: Tensor, steps: Tensor | None) -> Tensor:
    """Viterbi: scores (W, C) -> the places (W,) of the best path that takes only allowed steps."""
    if steps is None or not len(scores):
        return scores.argmax(-1)
    barred = torch.where(steps, 0.0, -1e4)
    best, back = scores[0] + barred[-1, :-1], []
    for score in scores[1:]:
        total, origin = (best[:, None] + barred[:-1, :-1]).max(0)
        best = total + score
        back.append(origin)
    place = int((best + barred[:-1, -1]).argmax())
    path = [place]
    for origin in reversed(back):
        path.append(int(origin[path[-1]]))
    return torch.tensor(path[::-1])


TAG = Task(
    name="tag", columns=("tokens", "tags"), form="token", loss="tags", metrics=("entity_f1", "tag_accuracy"),
    fit=fit_tags, labels=tag_labels, encode=encode_tags, targets=tag_targets, answer=best_tags,
    reference=lambda row: row.values["tags"],
    en="a tag for each word: names, parts of speech", zh="为每个词（中文为每个字）打标签：实体、词性",
)  # fmt: skip
