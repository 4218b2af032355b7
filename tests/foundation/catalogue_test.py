"""The catalogue of errors and the code that raises them know the same numbers and the same facts."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import NamedTuple

import pytest

from danlu.errors import catalogue

SOURCE = Path(__file__).parents[2] / "src/danlu"
ALWAYS = {"where", "found", "possible", "nearest"}


class Use(NamedTuple):
    code: str
    place: str
    facts: set[str] | None  # None: handed on as **facts


def uses() -> Iterator[Use]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if not isinstance(node, ast.Call):
                continue
            codes = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and is_code(arg.value)]
            given = {keyword.arg for keyword in node.keywords}
            for code in codes:
                place = f"{path.relative_to(SOURCE)}:{node.lineno}"
                yield Use(code, place, None if None in given else {name for name in given if name})


def is_code(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"E\d{4}", value) is not None


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


USES = list(uses())
CODES = sorted({use.code for use in USES})


@pytest.mark.parametrize("code", CODES)
def test_every_code_used_is_explained_in_both_languages(code: str) -> None:
    assert code in catalogue(), [use.place for use in USES if use.code == code]
    entry = catalogue()[code]
    assert set(entry) == {"title", "mend", "explain"}
    for part, texts in entry.items():
        assert set(texts) == {"en", "zh"}, part
        assert all(text.strip() for text in texts.values()), part
        assert re.search("[\u4e00-\u9fff]", texts["zh"]), f"{part} is not Chinese"
        assert not re.search("[\u4e00-\u9fff]", texts["en"]), f"{part} is not English"
        assert fields(texts["en"]) == fields(texts["zh"]), f"{part} names different facts"
    assert not fields(entry["explain"]["en"]), "`danlu explain` has no facts to fill in"


@pytest.mark.parametrize("use", USES, ids=lambda use: f"{use.code}-{use.place}")
def test_facts_are_given(use: Use) -> None:
    if use.code not in catalogue() or use.facts is None:
        return
    wanted = fields(catalogue()[use.code]["title"]["en"]) | fields(catalogue()[use.code]["mend"]["en"])
    assert wanted - ALWAYS <= use.facts, use.place
    assert wanted & ALWAYS <= use.facts, use.place


def test_no_entry_is_left_over() -> None:
    mentioned = set(re.findall(r"\bE\d{4}\b", "".join(path.read_text("utf8") for path in SOURCE.rglob("*.py"))))
    assert not set(catalogue()) - set(CODES) - mentioned


def test_codes_are_sorted_and_unique() -> None:
    text = (SOURCE / "errors.yaml").read_text(encoding="utf8")
    codes = re.findall(r"^(E\d{4}):", text, flags=re.MULTILINE)
    assert codes == sorted(set(codes))
