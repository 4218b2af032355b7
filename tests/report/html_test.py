from collections.abc import Callable
from typing import Any

import pytest

from danlu.errors import Language
from danlu.report.html import Html, Section, element, page, table, tiles
from danlu.voice import Voice

HOSTILE = '<script>alert("1")</script>&amp;'


def test_text_and_attributes_are_escaped() -> None:
    assert element("p", HOSTILE, title=HOSTILE) == (
        '<p title="&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp;">'
        "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp;</p>"
    )


def test_markup_stays_and_none_vanishes() -> None:
    assert element("p", Html("<b>a</b>"), None, 3, class_="x", id=None) == '<p class="x"><b>a</b>3</p>'
    assert element("meta", http_equiv="a") == '<meta http-equiv="a"/>'


@pytest.mark.parametrize(("language", "tag"), [("en", "en"), ("zh", "zh-CN")])
def test_page_is_whole_and_loads_nothing(read_page: Callable[[str], Any], language: Language, tag: str) -> None:
    body = element("div", table([HOSTILE], [[HOSTILE]], numeric=(0,)), tiles([(HOSTILE, HOSTILE, None)]))
    sections = [Section(name, HOSTILE, body, HOSTILE) for name in "abc"]
    text = page(HOSTILE, sections, Voice(language), lead=HOSTILE)
    tree = read_page(text)
    assert f'<html lang="{tag}">' in text
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    assert tree.tags.count("section") == tree.tags.count("h2") == 3
    assert tree.text.count(HOSTILE) >= 15
    assert [f'href="#{name}"' in text for name in "abc"] == [True] * 3


def test_the_policy_forbids_every_load() -> None:
    assert "default-src &#x27;none&#x27;" in page("t", [], Voice("en"))
