"""Files of every format, what their columns are taken for, and how rows are divided."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from danlu.data.ledger import Ledger
from danlu.errors import DanluError
from danlu.recipes.preparing.material import Given, Material, look, material
from danlu.tasks import Row
from danlu.tasks.reading import files, part_of, read
from danlu.tasks.settings import TaskData
from danlu.tasks.splits import across, contradictions, divide


def given(*paths: Path | str, task: str | None = None, **settings: Any) -> Given:
    return look(TaskData(paths=tuple(map(str, paths)), **settings), task)


def made(*paths: Path | str, task: str | None = None, **settings: Any) -> Material:
    data = TaskData(paths=tuple(map(str, paths)), **settings)
    return material(look(data, task), data)


def table(folder: Path, rows: list[dict[str, Any]], kind: str) -> Path:
    path = folder / f"rows.{kind}"
    names = list(rows[0])
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif kind == "json":
        path.write_text(json.dumps(rows), encoding="utf8")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    else:
        mark = "\t" if kind == "tsv" else ","
        lines = [mark.join(names), *(mark.join(str(row[name]) for name in names) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return path


ROWS = [{"sentence": f"This is sentence number {n} of many", "stars": n % 3} for n in range(60)]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_tables_of_every_kind_say_the_same(kind: str, tmp_path: Path) -> None:
    found = made(table(tmp_path, ROWS, kind))
    assert found.task.name == "classify"
    assert found.columns == {"text": "sentence", "label": "stars"}
    assert found.labels == ("0", "1", "2")
    assert len(found.training) + len(found.validation) + len(found.test) == 60


def test_a_table_may_be_squeezed(tmp_path: Path) -> None:
    path = table(tmp_path, ROWS, "csv")
    squeezed = tmp_path / "rows.csv.gz"
    squeezed.write_bytes(gzip.compress(path.read_bytes()))
    assert made(squeezed).training == [row._replace(file=str(squeezed)) for row in made(path).training]


@pytest.mark.parametrize(("text", "tokens", "tags"), [
    ("Anna\tB-PER\nsleeps\tO\n\nTom\tB-PER\nruns\tO\n", ["Anna", "sleeps"], ["B-PER", "O"]),
    ("-DOCSTART- -X- O O\n\nAnna NNP I-NP B-PER\nsleeps VB I-VP O\n\nTom NNP I-NP B-PER\n", ["Anna", "sleeps"],
     ["B-PER", "O"]),
    ("高 B-NAME\n勇 E-NAME\n： O\n\n男 O\n", ["高", "勇", "："], ["B-NAME", "E-NAME", "O"]),
    ("#photo\tO\nAnna\tB-PER\n\t\nx\tO\n", ["#photo", "Anna"], ["O", "B-PER"]),
])  # fmt: skip
def test_tagged_sentences(text: str, tokens: list[str], tags: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(text, encoding="utf8")
    found = given(tmp_path / "a.conll")
    assert found.inferred.task == "tag"
    record = found.tables["train"].records[0][0]
    assert (record.values["tokens"], record.values["tags"]) == (tokens, tags)


def test_universal_dependencies(tmp_path: Path) -> None:
    words = [
        "1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_",
        "1\tde\tde\tADP\tP\t_\t0\troot\t_\t_",
        "2\tle\tle\tDET\tD\t_\t1\tdet\t_\t_",
    ]
    (tmp_path / "a.conllu").write_text("# text = du\n" + "\n".join(words) + "\n\n" + "\n".join(words) + "\n")
    found = given(tmp_path / "a.conllu")
    assert found.inferred.columns == {"tokens": "form", "tags": "upos"}
    assert found.tables["train"].records[0][0].values["upos"] == ["ADP", "DET"]
    other = given(tmp_path / "a.conllu", columns={"tags": "xpos"})
    assert other.inferred.columns["tags"] == "xpos"


def test_folders_of_classes_and_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in ("neg", "pos"):
            place = tmp_path / part / label
            place.mkdir(parents=True)
            for number in range(6):
                (place / f"{number}.txt").write_text(f"{label} text {number} of {part}")
    found = made(tmp_path)
    assert found.labels == ("neg", "pos")
    assert len(found.test) == 12
    assert {row.values["label"] for row in found.training} == {"neg", "pos"}


def test_lines_side_by_side(tmp_path: Path) -> None:
    for language in ("en", "de", "fr"):
        (tmp_path / f"train.{language}").write_text("".join(f"{language} {n}\n" for n in range(5)))
    plain = TaskData(paths=(str(tmp_path),))
    found = files(plain)
    assert [file.format for file in found["train"]] == ["lines"]
    records = read(found["train"], plain, Ledger(read=0)).records
    assert records[2][0].values == {"source": "de 2", "target": "en 2", "de": "de 2", "en": "en 2", "fr": "fr 2"}
    (tmp_path / "train.en").write_text("one\n")
    with pytest.raises(DanluError, match="E1905"):
        read(files(plain)["train"], plain, Ledger(read=0))


def test_questions_as_squad_has_them(tmp_path: Path) -> None:
    asked = [
        {"question": "Who?", "answers": [{"text": "Tom", "answer_start": 0}]},
        {"question": "Where?", "answers": []},
    ]
    data = {"data": [{"paragraphs": [{"context": f"Tom sleeps {n}.", "qas": asked} for n in range(20)]}]}
    (tmp_path / "squad.json").write_text(json.dumps(data))
    found = made(tmp_path / "squad.json")
    assert found.task.name == "span"
    assert {tuple(row.values["answers"]) for row in found.training} == {(("Tom", 0),), ()}
    sides = [{row.values["context"] for row in rows} for rows in (found.training, found.validation)]
    assert not sides[0] & sides[1]  # questions about one text stay on one side


@pytest.mark.parametrize(("columns", "task", "roles"), [
    ({"text": "word {n} of it", "label": "{n%2}"}, "classify", {"text": "text", "label": "label"}),
    ({"文本": "第 {n} 句话很好看啊", "标签": "{n%2}"}, "classify", {"text": "文本", "label": "标签"}),
    ({"sentence1": "one {n} thing", "sentence2": "two {n} things", "label": "{n%2}"}, "classify",
     {"text": "sentence1", "text_b": "sentence2", "label": "label"}),
    ({"id": "{n}", "blurb": "a long text number {n}", "kind": "k{n%4}"}, "classify",
     {"text": "blurb", "label": "kind"}),
    ({"text": "word {n} of it", "score": "{n}.5"}, "regress", {"text": "text", "label": "score"}),
    ({"text": "word {n} of it", "label": "a{n%2}|b{n%3}"}, "multilabel", {"text": "text", "label": "label"}),
    ({"sentence1": "one {n} thing", "sentence2": "two {n} things"}, "retrieve",
     {"text": "sentence1", "text_b": "sentence2"}),
    ({"text": "word {n} of it", "choice1": "c{n}", "choice2": "d{n}", "label": "{n%2}"}, "choose",
     {"text": "text", "label": "label"}),
])  # fmt: skip
def test_columns_say_what_the_task_is(
    columns: dict[str, str], task: str, roles: dict[str, str], tmp_path: Path
) -> None:
    rows = []
    for n in range(60):
        filled = ((name, text.replace("{n}", str(n))) for name, text in columns.items())
        rows.append({name: text.replace("{n%2}", str(n % 2)).replace("{n%3}", str(n % 3)).replace("{n%4}", str(n % 4))
                     for name, text in filled})  # fmt: skip
    found = given(table(tmp_path, rows, "csv"))
    assert found.inferred.task == task
    assert dict(found.inferred.columns) == roles
    assert found.inferred.reasons[0].en
    assert found.inferred.reasons[0].zh


def test_columns_that_look_alike_are_asked_for(tmp_path: Path) -> None:
    rows = [{"words": f"a long text number {n}", "one": n % 2, "two": n % 3} for n in range(40)]
    path = table(tmp_path, rows, "csv")
    with pytest.raises(DanluError) as caught:
        given(path)
    assert caught.value.code == "E1907"
    assert caught.value.possible == ["one", "two"]
    assert given(path, columns={"label": "two"}).inferred.columns["label"] == "two"
    with pytest.raises(DanluError, match="E1203"):
        given(path, columns={"label": "tow"})
    with pytest.raises(DanluError, match="E1908"):
        given(path, task="clasify")


@pytest.mark.parametrize(("name", "part"), [
    ("train.tsv", "train"), ("sst2.dev.csv", "validation"), ("x/test/pos", "test"), ("test_public.json", "test"),
    ("reviews.csv", None), ("valid-00000-of-00001.parquet", "validation"), ("latest.csv", None),
])  # fmt: skip
def test_names_say_what_files_are_for(name: str, part: str | None) -> None:
    assert part_of(name) == part


def test_three_files_or_a_folder_of_them(tmp_path: Path) -> None:
    for part, count in (("train", 30), ("dev", 10), ("test", 10)):
        table(tmp_path, ROWS[:count], "csv").rename(tmp_path / f"{part}.csv")
    one = made(tmp_path)
    three = made(*(tmp_path / f"{part}.csv" for part in ("test", "train", "dev")))
    assert [len(each) for each in (one.training, one.validation, one.test)] == [30, 10, 10]
    assert one.training == three.training
    assert len(one.duplicates) == 20 - 10  # the first ten stand in both, and are named once each
    assert one.duplicates[0].other_file.endswith(("dev.csv", "test.csv"))
    clean = made(tmp_path, duplicates="drop")
    assert len(clean.training) == 20
    assert clean.ledger.dropped["in the test"] == 10


def test_division_is_a_function_of_the_text_and_leaks_nothing() -> None:
    rows = [
        Row({"text": f"Text  {n % 400}" if n % 2 else f"text {n % 400}", "label": "a"}, "f", n) for n in range(1000)
    ]
    rest, out = divide(rows, 0.2)
    again, same = divide(rows[::-1], 0.2)
    assert sorted(row.line for row in out) == sorted(row.line for row in same)
    assert 0.1 < len(out) / len(rows) < 0.3
    assert not across(rest, {"test": out})
    assert len(again) + len(same) == 1000


def test_contradictions_are_named() -> None:
    rows = [Row({"text": "good", "label": "1"}, "f", 2), Row({"text": "GOOD ", "label": "0"}, "f", 9)]
    assert [(each.line, each.other_line) for each in contradictions(rows, "label")] == [(9, 2)]


def test_one_answer_is_nothing_to_learn(tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="E1904"):
        made(table(tmp_path, [{"text": f"text {n} is", "label": "yes"} for n in range(30)], "csv"))
    with pytest.raises(DanluError, match="E1904"):
        made(table(tmp_path, [{"text": f"text {n} is", "label": 0.5} for n in range(30)], "csv"), task="regress")


def test_labels_that_cannot_be_learnt_are_named(tmp_path: Path) -> None:
    table(tmp_path, ROWS, "csv").rename(tmp_path / "train.csv")
    table(tmp_path, [{"sentence": "a new one", "stars": 9}], "csv").rename(tmp_path / "dev.csv")
    assert made(tmp_path).unseen == ("9",)


def test_notes_beside_tables_are_no_data(tmp_path: Path) -> None:
    table(tmp_path, ROWS, "csv")
    (tmp_path / "NOTICE.txt").write_text("a licence, and more\nof it")
    (tmp_path / "README.md").write_text("# about")
    assert [file.name for file in files(TaskData(paths=(str(tmp_path),)))["train"]] == [str(tmp_path / "rows.csv")]
