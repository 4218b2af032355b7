"""`danlu prompt` on a tiny model: what it writes, in which order it looks at rows, and what is made of a prompt."""

import json
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.prompt.spec import read_spec
from danlu.recipes.runs.folder import Run
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

GOOD, BAD = ("great", "warm", "bright", "good"), ("terrible", "cold", "dark", "bad")
THINGS = ("room", "soup", "film", "road", "bread", "song", "house", "letter")
ROWS = [(f"the {thing} was {word} {number}", label) for number in range(2) for thing in THINGS
        for words, label in ((GOOD, "1"), (BAD, "0")) for word in words]  # fmt: skip
NAMES = {"labels": {"0": "negative", "1": "positive"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model that fills masks, and rows of three parts."""
    folder = tmp_path_factory.mktemp("prompting")
    family, _ = fresh("bert-tiny")
    texts = [text for text, _ in ROWS] * 2
    tokenizer = train_tokenizer(
        iter(texts), TokenizerSettings(kind="wordpiece", vocabulary=200), family.specials, Voice(quiet=True),
        frame=family.frame,
    )  # fmt: skip
    family, config = fresh("bert-tiny", tokenizer.vocabulary)
    Checkpoint(family, config, build(config, seed=1).eval(), tokenizer).save(folder / "model")
    for name, part in (("train", ROWS[:64]), ("dev", ROWS[64:96]), ("test", ROWS[96:])):
        lines = ["text,label", *(f"{text},{label}" for text, label in part)]
        (folder / f"{name}.csv").write_text("\n".join(lines), encoding="utf8")
    return folder


def asked(place: Path, output: str, **settings: Any) -> Run:
    files = [place / f"{name}.csv" for name in ("train", "dev", "test")]
    words = {"output": str(place / output), "variations": 8, **NAMES, **settings}
    danlu.call("prompt", place / "model", *files, quiet=True, **words)
    return Run(place / output)


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    return asked(place, "run", shots=2)


def looks(run: Run) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run.path / "looks.jsonl").read_text(encoding="utf8").splitlines()]
    return [line["note"] for line in lines if "note" in line]


def test_a_run_is_whole(run: Run) -> None:
    assert run.state == "finished"
    spec = read_spec(run.path / "prompt.json")
    assert spec.classes == ("0", "1")
    assert "kind:sentiment" in spec.made_by
    assert {row["data"] for row in run.results} == {"test"}
    assert "accuracy" in {row["name"] for row in run.results}
    found = json.loads((run.path / "prompts.json").read_text(encoding="utf8"))
    assert found["expected"]["value"] <= found["value"]
    assert found["optimism"] == pytest.approx(found["value"] - found["expected"]["value"])
    assert len(found["variations"]) > 5
    page = (run.path / "report.html").read_text(encoding="utf8")
    assert 'id="prompt"' in page
    assert "expected on other rows" in page
    assert "agreement" in page


def test_the_rows_to_test_on_are_looked_at_last(run: Run) -> None:
    found = looks(run)
    assert [each["read"] for each in found].index("test") == len(found) - 1
    assert found[0] | {"fingerprint": ""} == {
        "read": "train",
        "why": "rank",
        "rows": 64,
        "labels": False,
        "fingerprint": "",
    }
    assert {each["why"] for each in found} == {"rank", "choose", "demonstrate", "vary", "measure"}
    lines = (run.path / "looks.jsonl").read_text(encoding="utf8").splitlines()
    assert json.loads(lines[-1])["note"]["read"] == "test"  # no candidate was looked at after it


def test_a_prompt_is_used_as_a_model_is(run: Run, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = danlu.load(run)
    reply = model.classify("the soup was great")
    assert reply.value in ("0", "1")
    assert sum(reply.scores.values()) == pytest.approx(1, abs=1e-3)
    same = danlu.load(place / "model", prompt=run.path / "prompt.json").classify(["the soup was great"])
    assert [each.value for each in same] == [reply.value]
    measured = danlu.call("evaluate", run, place / "test.csv", quiet=True).metrics
    own = next(row for row in run.results if row["name"] == "accuracy" and row["data"] == "test")
    assert measured["accuracy"]["value"] == pytest.approx(own["value"])
    beside = danlu.call("evaluate", place / "model", place / "test.csv", prompt=str(run.path), quiet=True).metrics
    assert beside["accuracy"]["value"] == pytest.approx(own["value"])
    capsys.readouterr()
    danlu.call("chat", run, "the soup was great", quiet=True)
    assert capsys.readouterr().out.startswith(reply.value)


def test_the_same_again_is_the_same(run: Run, place: Path) -> None:
    again = asked(place, "again", shots=2)
    assert (again.path / "prompt.json").read_bytes() == (run.path / "prompt.json").read_bytes()
    before = (again.path / "looks.jsonl").read_bytes()
    (again.path / "README.md").unlink()  # killed before the end: goes on from the ledger
    danlu.call("prompt", again, quiet=True)
    assert again.state == "finished"
    assert (again.path / "looks.jsonl").read_bytes() == before


def test_ones_own_line_begins_and_ways_go_on(place: Path) -> None:
    """A search after the choice: its winner is compared with the line by the share of rows that are right."""
    run = asked(
        place, "own", template="{text} so it was {mask}", search={"ways": "words", "budget": {"looks": 30}}, limit=16
    )
    found = json.loads((run.path / "prompts.json").read_text(encoding="utf8"))
    assert found["hand"]["lines"] == ["{text} so it was {mask}"]
    assert found["candidates"] > 3
    assert any(line.startswith('{"candidate"') for line in (run.path / "looks.jsonl").read_text().splitlines())


@pytest.mark.parametrize(
    ("start", "settings", "code"),
    [
        ("bert-tiny", {}, "E2314"), (None, {"labels": {"7": "x"}}, "E1823"),
        (None, {"template": "{nothing} {mask}"}, "E2305"),
        (None, {"template": "no place"}, "E2302"), (None, {"prompt": "none.json"}, "E2301"),
        (None, {"shot": 1}, "E1101"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_a_number(place: Path, start: str | None, settings: dict[str, Any], code: str) -> None:
    words = {"output": str(place / f"wrong-{code}"), **NAMES, **settings}
    with pytest.raises(DanluError) as caught:
        danlu.call("prompt", start or place / "model", place / "train.csv", quiet=True, **words)
    assert code in {each.code for each in getattr(caught.value, "problems", [caught.value])}


def test_rows_without_one_label_each(place: Path) -> None:
    (place / "numbers.csv").write_text(
        "text,label\n" + "\n".join(f"text number {n},{n / 7}" for n in range(60)), encoding="utf8"
    )
    with pytest.raises(DanluError) as caught:
        danlu.call("prompt", place / "model", place / "numbers.csv", quiet=True)
    assert caught.value.code == "E2315"
