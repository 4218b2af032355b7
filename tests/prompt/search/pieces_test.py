"""Templates as pieces: nothing is lost, holes stay whole."""

import pytest

from danlu.prompt.notation import read_notation
from danlu.prompt.search.pieces import cut, holes, is_hole, joined, like

LINES = [
    "Review: {text} It was {mask}.", "{{a}} {text}? don't_x {mask}, {text_b}", "{demos}{text}\nTopic: {mask}",
    "评论：{text} 这是一个{mask}的酒店。", "{soft:5} {label}", "a_b  c {mask}!",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_joined_they_are_the_line_again(line: str) -> None:
    template = read_notation(line)
    assert "".join(cut(template)) == line
    assert joined(cut(template)) == template


def test_pieces_of_words_marks_and_holes() -> None:
    assert cut(read_notation(LINES[0])) == ("Review", ":", " {text}", " It", " was", " {mask}", ".")
    assert holes(cut(read_notation(LINES[1]))) == ("{mask}", "{text_b}", "{text}")
    assert not is_hole("{{")


def test_like_takes_space_and_capital() -> None:
    assert (like(" Film", "story"), like("film", "story")) == (" Story", "story")
