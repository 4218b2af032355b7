"""Each rule on a text that breaks it and on one that does not, English and Chinese."""

import pytest

from danlu.data.filters import fault, repeats, script_share
from danlu.data.settings import DataSettings, FilterSettings

ENGLISH = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a "
    "wife. However little known the feelings or views of such a man may be on his first entering a neighbourhood, "
    "this truth is so well fixed in the minds of the surrounding families, that he is considered the rightful property "
    "of some one or other of their daughters."
)
CHINESE = (
    "却说张飞引三十馀骑，立于长坂桥西。玄德回顾从骑，止存百馀，百姓、老小并糜竺、简雍、糜芳等一干人，皆不知下落。"
    "正悽惶时，忽见糜芳面带数箭，踉跄而来，口言赵子龙反投曹操去了也。玄德叱曰：子龙是我故交，安肯反乎？"
)
USUAL = DataSettings(filters="gopher").filters


@pytest.mark.parametrize(("text", "language"), [(ENGLISH, "en"), (CHINESE, "zh")])
def test_good_text_passes_the_usual_rules(text: str, language: str) -> None:
    assert fault(text, USUAL, language) is None


BAD = [
    ({"characters": 50}, "Too little.", "too short"),
    ({"most": 50}, ENGLISH, "too long"),
    ({"letters": 0.6}, "12:30 – 14:45 | 3.5 × 2 = 7 | a b", "few letters"),
    ({"digits": 0.2}, "Call 0049 30 1234567 or 0049 30 7654321 now", "many digits"),
    ({"symbols": 0.1}, "<<< a | b | c >>> $$$ === +++ ok", "many symbols"),
    ({"repetition": True}, "Buy now and save money today.\n" * 20, "repetitive"),
    ({"repetition": True}, " ".join(["the best price for you"] * 30), "repetitive"),
    ({"repetition": True}, "点击这里领取优惠" * 30, "repetitive"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "text", "reason"), BAD)
def test_each_rule_has_its_reason(rules: dict[str, object], text: str, reason: str) -> None:
    assert fault(text, FilterSettings(**rules)) == reason  # type: ignore[arg-type]
    assert fault(text, FilterSettings()) is None
    good = CHINESE if reason != "too long" else "Short."
    assert fault(good, FilterSettings(**rules)) is None  # type: ignore[arg-type]


def test_another_script_than_the_languages_own() -> None:
    rules = FilterSettings(script=0.5)
    assert fault(CHINESE, rules, "en") == "another script"
    assert fault(ENGLISH, rules, "zh") == "another script"
    assert fault(ENGLISH, rules, "en") is None
    assert fault(CHINESE, rules, "zh-Hans") is None
    assert fault(ENGLISH, rules, "tlh") is None, "of an unknown language nothing can be said"
    assert script_share("日本語とひらがな", "ja") == 1.0


def test_a_refrain_is_no_repetition() -> None:
    refrain = "Nothing beside remains."
    assert not repeats("\n".join([ENGLISH[:150], refrain, ENGLISH[150:250], ENGLISH[250:], refrain]))
    assert repeats("\n".join([ENGLISH[:50], *[refrain] * 12]))
