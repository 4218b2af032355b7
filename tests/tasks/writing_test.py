"""From conversations to what a model is given, asked for, and scored by."""

import math
import random
from pathlib import Path

import pytest
import torch

import danlu
from danlu.checkpoint import Checkpoint
from danlu.data.batch import IGNORED
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.tasks import WRITING, Row
from danlu.tasks.paper import Paper
from danlu.tasks.preferring import Preferences
from danlu.tasks.writing import WritingSettings, fit_talk, put
from danlu.text.chat import Message
from danlu.text.tokenizer import Tokenizer
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.train.objectives import TokenObjective
from danlu.train.preference import PreferenceObjective, PreferenceSettings, answer_likelihoods
from danlu.voice import Voice

TEXTS = ["one two three four five six", "un deux trois quatre cinq six", "user assistant system 你好 世界"] * 20
ROWS = [
    Row({"source": "one two", "target": "un deux"}), Row({"source": "three four five", "target": "trois quatre cinq"}),
]  # fmt: skip
TALK = [
    Message("user", "one"), Message("assistant", "un"), Message("user", "two"), Message("assistant", "deux"),
]  # fmt: skip


@pytest.fixture(scope="module", params=["gpt2", "bart", "t5", "qwen3"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    family, _ = fresh(f"{request.param}-tiny")
    settings = TokenizerSettings(kind=family.tokenizer, vocabulary=400)
    tokenizer = train_tokenizer(iter(TEXTS), settings, family.specials, Voice(quiet=True), extra=family.extra_tokens)
    family, config = fresh(f"{request.param}-tiny", tokenizer.vocabulary, width=32, heads=2, length=64)
    return Checkpoint(family, config, build(config, "cpu", 1), tokenizer)


def paper(checkpoint: Checkpoint, task: str = "translate", room: int = 64, **settings: object) -> Paper:
    start = getattr(checkpoint.config, "start", None)
    assert checkpoint.tokenizer is not None
    kind = Preferences if task == "prefer" else Paper
    return kind(WRITING[task], checkpoint.tokenizer, WritingSettings(**{"length": 24} | settings), room, start)


def answers(batch, tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.decode(row[row != IGNORED].tolist(), specials=True) for row in batch.targets["tokens"]]


def test_what_is_asked_for_is_the_answer_and_its_end(checkpoint: Checkpoint) -> None:
    sheet = paper(checkpoint)
    batch = sheet.collate(sheet.encode(ROWS))
    for row, asked in zip(batch.targets["tokens"], answers(batch, checkpoint.tokenizer), strict=True):
        assert row[row != IGNORED][-1] == sheet.end
        assert "un" in asked or "trois quatre cinq" in asked
        assert "one" not in asked
        assert "three" not in asked


def test_a_model_reads_before_it_answers_what_it_learnt_to_answer_to(checkpoint: Checkpoint) -> None:
    sheet = paper(checkpoint)
    for row, example in zip(ROWS, sheet.encode(ROWS), strict=True):
        prompt, cut = sheet.prompt(sheet.task.messages(row.values, sheet.settings)[:-1])
        assert cut == 0
        before = example.tokens[: example.target.index(True)] if sheet.start is None else example.tokens
        assert prompt == list(before)


def test_padding_changes_no_loss(checkpoint: Checkpoint) -> None:
    sheet = paper(checkpoint)
    examples, objective = sheet.encode(ROWS), TokenObjective()
    model = checkpoint.model.eval()
    together = objective(model, sheet.collate(examples))["tokens"]
    apart = sum(objective(model, sheet.collate([example]))["tokens"] for example in examples)
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-4)


def test_every_answer_of_a_talk_is_learnt(checkpoint: Checkpoint) -> None:
    sheet = paper(checkpoint, "chat")
    row = Row(fit_talk({"messages": [message._asdict() for message in TALK]}))
    batch = sheet.collate(sheet.encode([row]))
    asked = " ".join(answers(batch, checkpoint.tokenizer))
    assert "un" in asked
    assert "deux" in asked
    assert int((batch.targets["tokens"] == sheet.end).sum()) == 2
    assert len(batch.targets["tokens"]) == (1 if sheet.start is None else 2)


def test_what_finds_no_room_is_counted_and_the_answer_is_kept(checkpoint: Checkpoint) -> None:
    sheet = paper(checkpoint, room=24, length=12)
    long = Row({"source": "one two three four five six " * 20, "target": "un deux"})
    (example,) = sheet.encode([long])
    assert example.cut > 0
    assert len(example.tokens) <= 24
    assert "un deux" in answers(sheet.collate([example]), checkpoint.tokenizer)[0]
    prompt, cut = sheet.prompt(sheet.task.messages(long.values, sheet.settings)[:-1])
    assert cut > 0
    assert len(prompt) + (12 if sheet.start is None else 0) <= 24


def test_a_prompt_is_filled_in_and_computes_nothing() -> None:
    assert put("summarize: {source}", {"source": "{target}"}) == "summarize: {target}"
    assert put("{source.__class__}", {"source": "x"}) == "{source.__class__}"


def test_texts_with_special_tokens_are_known(checkpoint: Checkpoint) -> None:
    sheet = paper(checkpoint)
    end = checkpoint.tokenizer.roles["end"]
    assert sheet.is_marked(Row({"source": f"one {end} two", "target": "un"}))
    assert not sheet.is_marked(ROWS[0])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"messages": "hello"}, "not a conversation"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "not a conversation"),
        ({"messages": [{"role": "user", "content": "x"}]}, "no answer"), ({"messages": []}, "no answer"),
        ({"messages": [{"role": "user", "content": None}]}, "not a conversation"), ({"instruction": "x"}, "no column"),
    ],
)  # fmt: skip
def test_conversations_that_are_none_have_a_reason(values: dict, reason: str) -> None:
    assert fit_talk(values) == reason


def test_other_words_for_the_same_roles() -> None:
    found = fit_talk({"messages": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]})
    assert found == {"messages": [Message("user", "a"), Message("assistant", "b")]}
    asked = fit_talk({"instruction": "say", "input": "x", "output": "y"})
    assert asked == {"messages": [Message("user", "say\n\nx"), Message("assistant", "y")]}


PAIR = {"text": "one two", "chosen": "un deux", "rejected": "six"}


def test_preferences_are_learnt_as_the_paper_has_it(checkpoint: Checkpoint) -> None:
    sheet = paper(checkpoint, "prefer")
    row = Row(WRITING["prefer"].fit(PAIR))
    batch = sheet.collate(sheet.encode([row, row]))
    model = checkpoint.model.eval()
    now = answer_likelihoods(model, batch).detach()
    talk = WRITING["prefer"].messages(row.values, sheet.settings)
    alone = paper(checkpoint).collate(sheet.written([talk], last=True))
    assert float(now[0, 0]) == pytest.approx(-float(TokenObjective()(model, alone)["tokens"].detach()), rel=1e-4)
    batch.targets["before"].copy_(torch.tensor([[-1.0, -2.0], [-3.0, -1.0]]))
    found = PreferenceObjective(PreferenceSettings(beta=0.3))(model, batch)["preferences"].detach()
    margins = [float((now[n, 0] - b) - (now[n, 1] - r)) for n, (b, r) in enumerate(((-1.0, -2.0), (-3.0, -1.0)))]
    expected = sum(math.log1p(math.exp(-0.3 * margin)) for margin in margins)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    more = PreferenceObjective(PreferenceSettings(beta=0.3, likelihood=1.0))(model, batch)["preferences"]
    assert float(more.detach()) > float(found)


def test_preferences_that_say_nothing_have_a_reason() -> None:
    fit = WRITING["prefer"].fit
    assert fit(PAIR | {"rejected": "un deux"}) == "no difference"
    assert fit({"text": "x", "chosen": "y"}) == "not a conversation"
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    other = [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]
    assert fit({"chosen": talk, "rejected": other}) == "two questions"


def test_a_run_learns_to_translate(tmp_path: Path) -> None:
    words = {"one": "un", "two": "deux", "three": "trois", "four": "quatre", "five": "cinq"}
    chance = random.Random(0)
    rows = [[chance.choice(list(words)) for _ in range(chance.randint(2, 3))] for _ in range(400)]
    lines = ["source\ttarget", *("\t".join([" ".join(row), " ".join(words[w] for w in row)]) for row in rows)]
    path = tmp_path / "numbers.tsv"
    path.write_text("\n".join(lines) + "\n")
    run = danlu.call(
        "finetune", "bart-tiny", path, model={"width": 64}, train={"steps": 160, "batch": 32},
        output=tmp_path / "run", quiet=True,
    )  # fmt: skip
    assert run.metrics["chrf"] > 80
    assert (tmp_path / "run/predictions.jsonl").is_file()
    model = danlu.load(tmp_path / "run")
    assert model.generate("one two", max_new_tokens=8) == "un deux"
