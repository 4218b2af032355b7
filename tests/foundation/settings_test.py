from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from danlu.errors import DanluError, Problems
from danlu.settings import (
    ALIASES,
    Settings,
    build,
    canonical,
    merge,
    names,
    parse_words,
    parse_yaml,
    read_yaml,
    renamed,
    schema,
    to_yaml,
)
from danlu.train.settings import TrainSettings


class Inner(Settings):
    lr: float = Field(1e-3, gt=0)
    steps: int | None = Field(None, ge=1)
    schedule: Literal["cosine", "wsd"] = "cosine"
    vocabulary: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"


class Outer(Settings):
    train: Inner = Inner()
    output: str | None = None
    seed: int = 0
    quick: bool = False
    start: str


def problem(*layers: dict) -> DanluError:
    with pytest.raises(DanluError) as raised:
        build(Outer, {"start": "x"}, *layers)
    return raised.value


def test_words() -> None:
    words = ["gpt-mini", "--train.lr", "1e-4", "in.txt", "train.steps=5", "--output=x", "--dry-run", "more"]
    plain, data = parse_words(words, flags=("dry_run",))
    assert plain == ["gpt-mini", "in.txt", "more"]
    assert data == {"train": {"lr": 1e-4, "steps": 5}, "output": "x", "dry_run": True}


def test_dashes_and_underscores_are_equal() -> None:
    assert parse_words(["--train.save-every=3"])[1] == parse_words(["train.save_every=3"])[1]


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("3", 3), ("1e-4", 1e-4), ("true", True), ("no", "no"), ("12:30", "12:30"), ("2024-01-01", "2024-01-01"),
        ("007", "007"), ("[1, a]", [1, "a"]), ("{a: 1}", {"a": 1}), ("To be: or not", "To be: or not"), ("", ""),
        ("[MASK] x", "[MASK] x"), ("null", None), ("#1", "#1"), ("a=b", "a=b"), ("*x", "*x"), ("你好", "你好"),
    ],
)  # fmt: skip
def test_a_word_is_read_as_yaml_where_that_keeps_all_of_it(typed: str, value: object) -> None:
    assert parse_words([f"x={typed}"])[1] == {"x": value}


def test_a_file_whose_name_looks_like_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b").write_text("")
    assert parse_words(["a=b", "c=d"]) == (["a=b"], {"c": "d"})


@pytest.mark.parametrize("word", ["--=3", "--a b.=1", "--1x=3", "--" + ".".join("a" * 50) + "=1"])
def test_what_is_no_name_is_refused(word: str) -> None:
    with pytest.raises(DanluError) as raised:
        parse_words([word])
    assert raised.value.code == "E1105"


def test_names_of_transformers_are_ours_too() -> None:
    typed = ["--learning_rate", "1e-4", "--per-device-train-batch-size=8", "max_steps=10"]
    assert parse_words(typed)[1] == {"train": {"lr": 1e-4, "batch": 8, "steps": 10}}
    assert renamed(typed)["learning_rate"] == "train.lr"
    assert canonical({"max_steps": 3, "train": {"lr": 1.0}})[0] == {"train": {"lr": 1.0, "steps": 3}}
    assert build(Outer, {"model_name_or_path": "x", "learning_rate": 2}).train.lr == 2


def test_one_setting_under_two_names() -> None:
    with pytest.raises(DanluError) as raised:
        parse_words(["learning_rate=1", "train.lr=2"])
    assert raised.value.code == "E1106"
    assert parse_words(["learning_rate=1", "train.lr=1"])[1] == {"train": {"lr": 1}}
    assert problem({"learning_rate": 1, "train": {"lr": 2}}).code == "E1106"
    assert problem({"train": {"lr": 2}, "learning_rate": 1}).code == "E1106"
    assert canonical({"learning_rate": 1, "train": 3})[1][0].code == "E1106"


def test_demands_read_well_in_both_languages() -> None:
    assert "'cosine' 或 'wsd'" in problem({"train": {"schedule": "x"}}).render("zh")
    assert "大于 0\n" in problem({"train": {"lr": -1}}).render("zh")
    with pytest.raises(DanluError) as raised:
        build(TrainSettings, {"steps": 1, "epochs": 1})
    assert "one of steps, epochs and minutes" in raised.value.render("en")
    assert "三者之一" in raised.value.render("zh")


def test_layers() -> None:
    settings = build(Outer, {"start": "a", "train": {"lr": 1.0}}, {"train": {"steps": 3}}, {"start": "b"})
    assert (settings.start, settings.train.lr, settings.train.steps) == ("b", 1.0, 3)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    assert problem({"trian": {}}).nearest == "train"
    assert problem({"train": {"lrr": 1}}).nearest == "train.lr"
    assert problem({"lr": 1}).nearest == "train.lr"
    assert "E1101 unknown setting train.zzzz" in problem({"train": {"zzzz": 1}}).render("en")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"train": {"lr": "fast"}}, "a number"), ({"train": {"lr": 0}}, "more than 0"),
        ({"seed": True}, "whole number"),
        ({"train": {"lr": float("nan")}}, "finite"), ({"train": {"schedule": "up"}}, "'cosine' or 'wsd'"),
        ({"train": {"vocabulary": "some"}}, "a whole number or 'auto'"), ({"train": {"steps": 0}}, "at least 1"),
        ({"quick": 7}, "true or false"), ({"train": 3}, "a group of settings"), ({"output": [1]}, "text"),
    ],
)  # fmt: skip
def test_wrong_values(data: dict, says: str) -> None:
    error = problem(data)
    assert error.code == "E1102"
    assert says in error.render("en")
    assert error.render("zh").count("\n") == 4


def test_all_problems_come_together() -> None:
    with pytest.raises(Problems) as raised:
        build(Outer, {"train": {"lr": "x", "epoch": 1}, "sead": 1})
    codes = sorted(each.code for each in raised.value.problems)
    assert codes == ["E1101", "E1101", "E1102", "E1104"]


def test_text_may_look_like_a_number() -> None:
    assert build(Outer, {"start": 2024}).start == "2024"


def test_settings_are_frozen_and_known_by_name() -> None:
    settings = build(Outer, {"start": "x"})
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3  # type: ignore[misc]
    assert names(Outer)[:2] == ["train.lr", "train.steps"]
    assert schema(Outer)["additionalProperties"] is False


def test_yaml_reads_back_as_written() -> None:
    data = {"a": 1e-5, "b": "1e-5", "c": "no", "d": None, "e": [True, "true"], "f": {"g": "你好: x"}, "h": "007"}
    assert parse_yaml(to_yaml(data)) == data
    assert build(Outer, parse_yaml(to_yaml(build(Outer, {"start": "x"})))) == build(Outer, {"start": "x"})


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]", "just text", "a: 1\na: 2", "a: &x 1\nb: *x", "a: {b: ]", "!!python/object:os.system {}", "\x00",
        "1: 2",
        "? [1]\n: 2", "a: " + "[" * 40 + "]" * 40, "{" * 9_000, "a: !!binary x", "%YAML 9.9\n---\na: 1", "\t",
        "a: 1\n---\nb: 2",
    ],
)  # fmt: skip
def test_files_that_are_no_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(DanluError) as raised:
        read_yaml(path)
    assert raised.value.code == "E1103"
    assert str(path) in raised.value.render("en")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_text("a: 1\n" * 1_000_000)
    (tmp_path / "odd.yaml").write_bytes(b"a: \xff\xfe")
    for name in ("big.yaml", "odd.yaml", "none.yaml", "."):
        with pytest.raises(DanluError, match="E1103"):
            read_yaml(tmp_path / name)
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_merge_leaves_its_layers_alone() -> None:
    below = {"a": {"b": 1}}
    assert merge(below, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    assert below == {"a": {"b": 1}}


def test_aliases_lead_to_names_without_dots_of_their_own() -> None:
    assert all("." not in alias for alias in ALIASES)
