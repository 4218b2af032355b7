"""Each task from rows to a learnt model: encoding, targets, replies; on encoders, decoders and both."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import danlu
from danlu.data.batch import IGNORED
from danlu.tasks import TASKS, Row
from danlu.tasks.framing import Framing
from danlu.tasks.spans import best_spans, encode_spans, fit_answers
from danlu.tasks.tagging import allowed, best_path, encode_tags, written
from danlu.tasks.task import collate

Make = Callable[..., Framing]
FAST: dict[str, Any] = {"train": {"steps": 60, "batch": 16, "lr": 3e-3, "evaluate_every": 30, "precision": "float32"}}


def rows_of(task: str, count: int = 96) -> list[dict[str, Any]]:
    """Rows that anyone could learn."""
    found: list[dict[str, Any]] = []
    for number in range(count):
        good, name = number % 2 == 0, "Anna" if number % 3 else "Tom"
        text = f"The meal number {number} was {'great' if good else 'awful'} for {name}."
        if task == "classify":
            found.append({"text": text, "label": "good" if good else "bad"})
        elif task == "multilabel":
            found.append({"text": text, "label": ["good"] * good + [name]})
        elif task == "regress":
            found.append({"text": text, "label": 1000.5 + 100 * good})
        elif task == "tag":
            words = text[:-1].split()
            tags = ["B-PER" if word == name else "O" for word in words]
            found.append({"tokens": words, "tags": tags})
        elif task == "span":
            found.append({"question": "For whom?", "context": text, "answers": [name]})
        elif task == "choose":
            other = "Tom" if name == "Anna" else "Anna"
            pair = [name, other] if number % 2 else [other, name]
            found.append({"text": f"number {number} for {name}", "choices": [f"it was {each}" for each in pair],
                          "label": pair.index(name)})  # fmt: skip
        else:
            found.append({"text": f"who likes number {number}", "text_b": f"{name} likes number {number}"})
    return found


def learnt(task: str, name: str, tower: Callable[[str], Path], place: Path, **more: Any) -> Any:
    file = place / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(task)), encoding="utf8")
    return danlu.finetune(tower(name), file, task=task, quiet=True, output=place / "run", **(FAST | more))


@pytest.mark.parametrize("task", list(TASKS))
def test_every_task_is_learnt_and_used(task: str, tower: Callable[[str], Path], tmp_path: Path) -> None:
    run = learnt(task, "bert", tower, tmp_path)
    model = danlu.load(run)
    metric = TASKS[task].metrics[0]
    best = {"classify": 0.9, "multilabel": 0.6, "regress": 0.9, "tag": 0.9, "choose": 0.5, "span": 0.0}.get(task, 0.0)
    assert run.metrics[metric] >= best, run.metrics
    if task == "classify":
        replies = model.classify([f"The meal number 3 was {word} for Tom." for word in ("great", "awful")])
        assert [reply.value for reply in replies] == ["good", "bad"]
        assert sum(replies[0].scores.values()) == pytest.approx(1)
        assert model.classify("The meal number 3 was great for Tom.").value == "good"
    elif task == "multilabel":
        assert "good" in model.classify("The meal number 4 was great for Tom.").value
    elif task == "regress":  # in the rows' own unit, although learnt in another
        high, low = model.regress(["The meal number 4 was great for Tom.", "The meal number 5 was awful for Tom."])
        assert high.value == pytest.approx(1100.5, abs=20)
        assert low.value == pytest.approx(1000.5, abs=20)
    elif task == "tag":
        assert dict(model.tag("The meal number 7 was great for Anna"))["Anna"] == "B-PER"
        assert [word for word, _ in model.tag([["two words", "Anna"]])[0]] == ["two words", "Anna"]
    elif task == "span":
        assert isinstance(model.find("For whom?", "The meal was for Tom.").value, str)
    elif task == "choose":
        assert model.choose("for Tom", ["it was Tom", "it was Anna"]).value in (0, 1)
    else:
        vectors = model.embed(["who likes number 3", "Anna likes number 3"])
        assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "bart"])
@pytest.mark.parametrize("task", ["classify", "tag", "retrieve"])
def test_decoders_and_both_learn_them_too(name: str, task: str, tower: Callable[[str], Path], tmp_path: Path) -> None:
    run = learnt(task, name, tower, tmp_path, train=FAST["train"] | {"steps": 30})
    assert run.state == "finished"
    losses = [row["loss"] for row in run.history.steps]
    assert sum(losses[-9:]) < sum(losses[:9])


def test_a_second_text_is_of_the_second_segment(framing: Make) -> None:
    task, frame = TASKS["classify"], framing()
    rows = [
        Row({"text": "good film", "text_b": "bad book", "label": "1"}),
        Row({"text": "good", "text_b": "", "label": "0"}),
    ]
    examples = task.encode(rows, frame, ("0", "1"))
    special = frame.tokenizer.special
    assert examples[0].tokens.count(special["separator"]) == 2
    assert examples[0].segments[-1] == 1  # type: ignore[index]
    batch = collate(examples, frame.pad, {"x": task.targets(examples, 0)})
    assert batch.inputs["segments"].sum() > 0
    assert batch.targets["x"].tolist() == [1, 0]


def test_what_finds_no_room_is_counted_and_the_longer_text_cut_first(framing: Make) -> None:
    frame = framing(length=16)
    tokens, marks, cut = frame.two(list(range(10, 40)), [50, 51])
    assert len(tokens) == 16
    assert cut == 30 + 2 - (16 - frame.around - len(frame.between))
    assert tokens[-3:-1] == [50, 51]
    assert marks == [0] * 13 + [1] * 3


def test_a_row_is_only_padded_where_it_must_be(framing: Make) -> None:
    frame, task = framing(), TASKS["classify"]
    alike = task.encode([Row({"text": "good film"}), Row({"text": "good film"})], frame, ())
    assert set(collate(alike, frame.pad, {}).inputs) == {"tokens"}
    other = task.encode([Row({"text": "good film"}), Row({"text": "good"})], frame, ())
    assert "valid" in collate(other, frame.pad, {}).inputs


@pytest.mark.parametrize("name", ["bert", "gpt2", "roberta", "t5", "llama"])
def test_a_tag_is_asked_at_the_first_token_of_its_word(name: str, framing: Make) -> None:
    words = ["Anna", "liked", "the", "unfathomable", "Paris", "。", "很", "好"]
    tags = ["B", "O", "O", "C", "D", "E", "F", "G"]
    frame = framing(name)
    (example,) = encode_tags([Row({"tokens": words, "tags": tags})], frame, tuple("OBCDEFG"))
    asked = [place for place, target in enumerate(example.target) if target != IGNORED]
    assert [target for target in example.target if target != IGNORED] == ["OBCDEFG".index(tag) for tag in tags]
    assert asked == [place for place, _ in example.places]
    for (place, word), after in zip(
        example.places, [*asked[1:], len(example.tokens) - len(frame.tokenizer.suffix)], strict=True
    ):
        piece = frame.tokenizer.decode(list(example.tokens)[place:after]).strip()
        if frame.tokenizer.special.get("unknown") not in example.tokens[place:after]:
            assert piece == words[word]


def test_words_stand_as_they_are_written() -> None:
    assert written(["I", "like", "北", "京", "very", "much"])[0] == "I like北京very much"
    text, spans = written(["我", "爱", "Paris"])
    assert [text[start:end] for start, end in spans] == ["我", "爱", "Paris"]


def test_long_sentences_lose_no_word(framing: Make) -> None:
    words = ["good"] * 100
    examples = encode_tags([Row({"tokens": words, "tags": ["O"] * 100})], framing(length=16), ("O",))
    assert len(examples) > 5
    assert [word for example in examples for _, word in example.places] == list(range(100))
    assert not any(example.cut for example in examples)


def test_tags_follow_their_scheme() -> None:
    labels = ("O", "B-X", "I-X", "I-Y", "B-Y")
    steps = allowed(labels)
    scores = torch.tensor([[0.0, 1.0, 0, 0, 0], [0, 0, 1.0, 1.5, 0], [0, 0, 0, 2.0, 0]])
    assert [labels[place] for place in best_path(scores, steps).tolist()] != ["B-X", "I-Y", "I-Y"]
    path = [labels[place] for place in best_path(scores, steps).tolist()]
    for before, after in zip(["O", *path], path, strict=False):
        assert not after.startswith("I-") or before[2:] == after[2:]
    closed = allowed(("O", "B-X", "M-X", "E-X", "S-X"))
    assert closed is not None
    assert not closed[1, 0]  # an entity that was begun must end
    assert allowed(("NOUN", "VERB")) is None


def test_spans_are_found_in_every_window(framing: Make) -> None:
    context = "The film was good. " * 30 + "It was made in Paris by Anna."
    values = fit_answers(
        {"question": "Where was it made?", "context": context, "answers": {"text": ["Paris"], "answer_start": [None]}}
    )
    assert not isinstance(values, str)
    row = Row(values)
    frame = framing(length=48)
    examples = encode_spans([row], frame, ())
    assert len(examples) > 5
    told = [example for example in examples if example.target != (0, 0)]
    assert told
    logits = []
    for example in examples:
        logit = torch.zeros(len(example.tokens), 2)
        logit[0] = 1.0
        if example is told[0]:
            logit[example.target[0], 0] = logit[example.target[1], 1] = 9.0
        logits.append(logit)
    (reply,) = best_spans(logits, examples, [row], ())
    assert reply.value == "Paris"
    assert (
        best_spans([torch.eye(len(each.tokens), 2)[:, [0, 0]] for each in examples], examples, [row], ())[0].value == ""
    )


@pytest.mark.parametrize(("task", "values", "reason"), [
    ("classify", {"text": "x", "label": None}, "no label"),
    ("classify", {"text": "x", "label": float("nan")}, "no label"),
    ("classify", {"text": "x", "label": "NaN"}, "no label"),
    ("classify", {"text": "  ", "label": "a"}, "empty"),
    ("classify", {"text": ["x"], "label": "a"}, "not text"),
    ("classify", {"text": "x", "label": ["a"]}, "not a label"),
    ("regress", {"text": "x", "label": "high"}, "not a number"),
    ("regress", {"text": "x", "label": "inf"}, "not a number"),
    ("tag", {"tokens": ["a", "b"], "tags": ["O"]}, "tags and words differ"),
    ("span", {"question": "q", "context": "c", "answers": ["zebra"]}, "answer not in the text"),
    ("choose", {"text": "x", "choices": ["a"], "label": 0}, "no choices"),
    ("choose", {"text": "x", "choices": ["a", "b"], "label": 7}, "not a label"),
    ("retrieve", {"text": "x", "text_b": " "}, "empty"),
])  # fmt: skip
def test_rows_that_cannot_be_used_say_why(task: str, values: dict[str, Any], reason: str) -> None:
    assert TASKS[task].fit(values) == reason
