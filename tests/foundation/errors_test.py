import pickle

import pytest

from danlu.errors import Both, DanluError, Problems, nearest, raise_all, shown


def test_an_error_says_where_what_and_how_to_mend_it() -> None:
    error = DanluError("E1101", where="a.yaml", name="trian", possible=["train", "data"], nearest="train")
    assert error.render("en").splitlines() == [
        "E1101 unknown setting trian",
        "  where: a.yaml",
        "  possible: train, data",
        "  did you mean: train",
        "  mend: use one of the possible names, or remove it",
    ]
    assert error.render("zh").splitlines()[0] == "E1101 未知设置 trian"
    assert error.render("zh").splitlines()[1:] == [
        "  位置：a.yaml",
        "  可选：train、data",
        "  是否想写：train",
        "  修正：改用可选名称之一，或删去该项",
    ]


def test_without_a_language_the_title_stands_in_both() -> None:
    assert str(DanluError("E1104", name="x")).startswith("E1104 缺少设置 x / setting x is missing")


def test_a_fact_in_both_languages() -> None:
    error = DanluError("E1102", name="x", found="1", possible=Both("a number", "数字"))
    assert "possible: a number" in error.render("en")
    assert "可选：数字" in error.render("zh")


def test_a_fact_that_was_forgotten_does_not_hide_the_error() -> None:
    assert "‹name›" in DanluError("E1104").render("en")


def test_facts_are_short_and_harmless_on_a_terminal() -> None:
    assert len(shown("x" * 10_000)) == 300
    assert "\x1b" not in shown("\x1b[31mred")
    assert shown(list(range(100))).endswith(", … (100)")
    assert shown(list(range(100)), "zh").endswith("、… (100)")
    assert shown("{0} {name}") == "{0} {name}"


def test_errors_travel_between_processes() -> None:
    error = DanluError("E1101", where="f", name="x", nearest="y")
    assert pickle.loads(pickle.dumps(error)).render("en") == error.render("en")
    both = Problems([error, DanluError("E1104", name="z")])
    assert pickle.loads(pickle.dumps(both)).render("zh") == both.render("zh")


def test_problems_are_raised_together() -> None:
    raise_all([])
    with pytest.raises(DanluError) as one:
        raise_all([DanluError("E1104", name="a")])
    assert one.value.code == "E1104"
    with pytest.raises(Problems) as two:
        raise_all([DanluError("E1104", name="a"), DanluError("E1104", name="b")])
    assert "2 problems" in two.value.render("en")
    assert "setting a" in two.value.render("en")
    assert "setting b" in two.value.render("en")


def test_nearest() -> None:
    assert nearest("pretran", ["pretrain", "evaluate"]) == "pretrain"
    assert nearest("zzz", ["pretrain"]) is None
    assert nearest("x" * 1_000_000, ["pretrain"]) is None
