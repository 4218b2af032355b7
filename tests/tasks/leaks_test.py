import json
from pathlib import Path

import pytest

from danlu.cli import main
from danlu.tasks.leaks import groups, leaks
from danlu.tasks.task import Row

LONG = "the room was bright and the soup was hot and the people at the desk were very kind to all of us that night"
NEAR = LONG.replace("bright", "light")


def row(text: str, label: str, line: int, file: str = "a.tsv") -> Row:
    return Row({"text": text, "label": label}, file, line)


def test_what_stands_in_two_parts_is_found_and_what_stands_twice_in_one_is_not() -> None:
    train = [row(LONG, "good", 2), row("Plain words.", "bad", 3), row("plain  WORDS.", "bad", 4)]
    test = [
        row("PLAIN words.", "good", 2, "t.tsv"),
        row(NEAR, "good", 3, "t.tsv"),
        row("Something else", "bad", 4, "t.tsv"),
    ]
    found = leaks({"train": train, "test": test}, "label")
    told = [(each.line, each.other_line, each.near, each.agrees, each.part, each.other_part) for each in found]
    assert told == [(2, 3, False, False, "test", "train"), (3, 2, True, True, "test", "train")]


def test_chinese_is_compared_by_character() -> None:
    train = [row("这家酒店的房间很干净，服务员也非常热情，下次还会再来住的。", "1", 1)]
    test = [row("这家酒店的房间很干净，服务员也非常热情，下次还会再来住。", "1", 1)]
    assert [each.near for each in leaks({"train": train, "test": test}, "label")] == [True]


def test_rows_that_belong_together_are_one_group() -> None:
    rows = [row(LONG, "a", 1), row("other", "b", 2), row(NEAR, "a", 3),
            Row({"question": "q1", "context": "a text"}), Row({"question": "q2", "context": "A  text"})]  # fmt: skip
    assert groups(rows) == [0, 1, 0, 3, 3]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [
        f"{at % 2}\tthis is review number {at} about the thing called {chr(97 + at % 26)}{at * 7}" for at in range(80)
    ]
    Path("reviews.tsv").write_text("label\ttext\n" + "\n".join([*lines, *lines[:20]]) + "\n")
    Path("test.tsv").write_text("label\ttext\n" + "\n".join([lines[3], "1\tquite new", "0\tand new again"]) + "\n")
    return tmp_path


def test_leaks_by_the_command(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "leaks", "reviews.tsv", "test.tsv", "--json", "lang=en"]) == 1
    said = capsys.readouterr().out.splitlines()
    found = json.loads(said[-1])["metrics"]
    assert (found["leaks"], found["same"]) == (1, 1)
    assert found["places"][0]["line"] == 2
    assert "  test.tsv:2 = reviews.tsv:5" in said
    Path("clean.tsv").write_text("label\ttext\n1\tquite new\n0\tand new again\n")
    assert main(["data", "leaks", "reviews.tsv", "clean.tsv", "lang=zh"]) == 0
    assert main(["data", "leaks", "reviews.tsv"]) == 2


def test_labelled_rows_are_split_with_all_their_columns(files: Path) -> None:
    assert main(["data", "split", "reviews.tsv", "share=0.2", "tested=0.2", "output=parts", "lang=en"]) == 0
    names = ["train", "validation", "test"]
    rows = {
        name: [json.loads(line) for line in Path(f"parts/reviews.{name}.jsonl").read_text().splitlines()]
        for name in names
    }
    assert sum(map(len, rows.values())) == 100
    assert all(set(each) == {"label", "text"} for some in rows.values() for each in some)
    texts = {name: {each["text"] for each in some} for name, some in rows.items()}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert 0 < len(rows["test"]) < 50
    assert main(["data", "leaks", *(f"parts/reviews.{name}.jsonl" for name in names)]) == 0
    again = Path("parts/reviews.train.jsonl").read_bytes()
    assert main(["data", "split", "reviews.tsv", "share=0.2", "tested=0.2", "output=parts"]) == 0
    assert Path("parts/reviews.train.jsonl").read_bytes() == again
