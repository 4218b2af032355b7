"""The ledger: append only, whole after any kill, and of one search alone."""

import json
from pathlib import Path

import pytest

from danlu.errors import DanluError
from danlu.prompt.search.ledger import Ledger, key_of

ABOUT = {"seed": 0, "model": "abc"}


def filled(path: Path) -> Ledger:
    ledger = Ledger(path, ABOUT)
    ledger.measured("one", 0, [1.0, 0.0], 20, {"text": "是"})
    ledger.measured("one", 2, [0.5], 10, {"text": "是"})
    ledger.answer({"what": "synonyms", "of": "good"}, lambda: (["fine", "nice"], 7))
    ledger.note(winner="one")
    return ledger


def same(first: Ledger, second: Ledger) -> bool:
    names = ("values", "answers", "tokens", "looks", "notes")
    return all(getattr(first, name) == getattr(second, name) for name in names)


def test_read_again(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "ledger.jsonl")
    again = Ledger(tmp_path / "ledger.jsonl", ABOUT)
    assert same(ledger, again)
    assert (again.values, again.tokens, again.looks) == ({"one": [1.0, 0.0, 0.5]}, 37, 2)


def test_asked_once(tmp_path: Path) -> None:
    filled(tmp_path / "ledger.jsonl")
    again = Ledger(tmp_path / "ledger.jsonl", ABOUT)

    def fail() -> tuple[object, int]:
        raise AssertionError("it was answered before")

    assert again.answer({"of": "good", "what": "synonyms"}, fail) == ["fine", "nice"]


def test_noted_once(tmp_path: Path) -> None:
    filled(tmp_path / "ledger.jsonl").note(winner="one")
    assert (tmp_path / "ledger.jsonl").read_text(encoding="utf8").count("winner") == 1


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_torn_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    """A line that a kill has left half is as if it had not been begun."""
    path = tmp_path / "ledger.jsonl"
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[1][:cut])
    assert same(Ledger(path, ABOUT), Ledger(path, ABOUT))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"other": 1}', '{"candidate": "one", "from": 9, "values": []}'])
def test_damage_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "ledger.jsonl"
    filled(path)
    path.write_text(path.read_text(encoding="utf8") + line + "\n", encoding="utf8")
    with pytest.raises(DanluError, match="E2350") as caught:
        Ledger(path, ABOUT)
    assert str(caught.value.where).endswith(":6")


def test_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    filled(path)
    with pytest.raises(DanluError, match="E2351") as caught:
        Ledger(path, ABOUT | {"seed": 1})
    assert caught.value.found == ["seed"]
    assert json.loads(path.read_text(encoding="utf8").splitlines()[0]) == {"search": ABOUT}


def test_keys_do_not_depend_on_order() -> None:
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1}) != key_of({"a": 1, "b": [2, 1]})
