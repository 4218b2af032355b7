"""Questions whose answers stand in a text: where an answer begins and where it ends.

A text longer than a row is read in windows that overlap; an answer that is not in a window is asked for at its first
token, which stands for "not here" (Devlin et al. 2018, 4.3).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from danlu.tasks.framing import Framing
from danlu.tasks.task import Example, Labels, Reply, Row, Task
from danlu.tasks.understanding import fit_texts

OVERLAP = 0.25  # of a window's text
QUESTION = 0.25  # of a row, at most
LONGEST = 40  # tokens of an answer


def fit_answers(values: Mapping[str, Any]) -> Mapping[str, Any] | str:
    """answers: [(text, first character)]; empty where the question has none."""
    found = fit_texts(values, "question", "context")
    if isinstance(found, str):
        return found
    told = values.get("answers")
    if isinstance(told, dict):
        texts, starts = told.get("text"), told.get("answer_start")
    else:
        texts, starts = told, values.get("answer_start")
    texts = [texts] if isinstance(texts, str) else texts
    starts = [starts] if isinstance(starts, (int, float, str)) else starts
    if texts is None and "answers" in values:
        return "no label"
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        return "not a label"
    answers = []
    for number, text in enumerate(texts):
        start = _start(found["context"], text, starts[number] if starts and number < len(starts) else None)
        if start is None:
            return "answer not in the text"
        answers.append((text, start))
    return dict(found) | {"answers": answers}


def _start(context: str, text: str, told: Any) -> int | None:
    try:
        place = int(told)
    except (TypeError, ValueError):
        place = -1
    if place >= 0 and context[place : place + len(text)] == text:
        return place
    place = context.find(text)
    return place if text and place >= 0 else None


def encode_spans(rows: Sequence[Row], framing: Framing, labels: Labels) -> list[Example]:
    questions = framing.tokenizer.encode_many([row.values["question"] for row in rows])
    contexts = framing.tokenizer.encode_with_offsets([row.values["context"] for row in rows])
    return [
        example
        for number, (row, question, (ids, offsets)) in enumerate(zip(rows, questions, contexts, strict=True))
        for example in _windows(number, row, question, ids, offsets, framing)
    ]


def _windows(
    number: int, row: Row, question: list[int], ids: list[int], offsets: list[tuple[int, int]], framing: Framing
) -> list[Example]:
    kept = question[: max(1, int(QUESTION * framing.length))]
    room = max(1, framing.room(pair=True) - len(kept))
    step = max(1, room - int(OVERLAP * room))
    before = len(framing.tokenizer.prefix) + len(kept) + len(framing.between)
    found, start = [], 0
    while True:
        part, marks = ids[start : start + room], offsets[start : start + room]
        tokens, segments, _ = framing.two(kept, part)
        target = _target(row.values.get("answers") or [], marks, before)
        cut = len(question) - len(kept) if start == 0 else 0
        found.append(Example(tokens, segments, target, number, cut, (before, marks)))
        if start + room >= len(ids):
            return found
        start += step


def _target(answers: Sequence[tuple[str, int]], marks: Sequence[tuple[int, int]], before: int) -> tuple[int, int]:
    """The first and the last token of the first answer that a window holds whole; (0, 0) where it holds none."""
    for text, start in answers:
        end = start + len(text)
        inside = [place for place, (first, last) in enumerate(marks) if first < end and last > start]
        if inside and marks[inside[0]][0] <= start and marks[inside[-1]][1] >= end:
            return before + inside[0], before + inside[-1]
    return 0, 0


def span_targets(examples: Sequence[Example], length: int) -> Tensor:
    """(B, 2)"""
    return torch.tensor([example.target for example in examples])


def best_spans(
    logits: Sequence[Tensor], examples: Sequence[Example], rows: Sequence[Row], labels: Labels
) -> list[Reply]:
    """logits (T, 2) of windows -> the best answer of any window; "" where "not here" is better in all of them."""
    best: dict[int, tuple[float, str]] = {}
    nothing: dict[int, float] = {}
    for logit, example in zip(logits, examples, strict=True):
        before, marks = example.places
        start, end = logit[:, 0].log_softmax(0), logit[:, 1].log_softmax(0)
        nothing[example.row] = min(nothing.get(example.row, float("inf")), float(start[0] + end[0]))
        if not marks:
            continue
        inside = slice(before, before + len(marks))
        pairs = start[inside, None] + end[None, inside]
        count = len(marks)
        fits = torch.ones(count, count).triu().tril(LONGEST - 1).bool()
        place = int(pairs.masked_fill(~fits, float("-inf")).argmax())
        first, last = divmod(place, count)
        text = rows[example.row].values["context"][marks[first][0] : marks[last][1]]
        score = float(pairs[first, last])
        if example.row not in best or score > best[example.row][0]:
            best[example.row] = score, text
    found = []
    for number in range(len(rows)):
        score, text = best.get(number, (float("-inf"), ""))
        none = nothing.get(number, 0.0)
        value, total = (text.strip(), score) if score >= none else ("", none)
        found.append(Reply(value, float(torch.tensor(total).exp())))
    return found


SPAN = Task(
    name="span", columns=("question", "context", "answers"), optional=("answer_start",), form="span", loss="spans",
    metrics=("exact_match", "token_f1"), fit=fit_answers, labels=lambda rows: (), encode=encode_spans,
    targets=span_targets, answer=best_spans,
    reference=lambda row: [text for text, _ in row.values["answers"]] or [""],
    en="the part of a text that answers a question", zh="在文本中找出回答问题的片段",
)  # fmt: skip
