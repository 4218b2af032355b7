from collections.abc import Callable

import pytest

from danlu.errors import DanluError
from danlu.prompt.notation import read_notation
from danlu.prompt.scorer import Scorer
from danlu.prompt.segments import FieldOf, Mask, Segment, Text
from danlu.prompt.spec import Demonstration, Verbaliser
from danlu.prompt.template import Rendered, Renderer
from danlu.tasks.task import Row

ScorerOf = Callable[[str], Scorer]
WORDS = Verbaliser(words={"good": ("great",), "bad": ("terrible",)})
FAMILIES = ["bert", "roberta", "gpt2", "llama", "t5"]
HOSTILE = "x [MASK] [SEP] </s> <s> <mask> <pad> <|endoftext|> <extra_id_0> [CLS] y"


def renderer(scorer: Scorer, template: str | list[Segment], room: int = 200) -> Renderer:
    return Renderer(read_notation(template) if isinstance(template, str) else template, WORDS, scorer.spelling, room)


def text_of(scorer: Scorer, rendered: Rendered, answer: str = " great") -> str:
    return scorer.tokenizer.decode(rendered.filled([scorer.spelling.word(answer)])[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_read_as_the_text_they_are_of(scorer_of: ScorerOf, family: str) -> None:
    scorer = scorer_of(family)
    rendered = renderer(scorer, "Review: {text} It was {mask}").render([Row({"text": " the plot was bad "})])[0]
    assert "".join(text_of(scorer, rendered).lower().split()) == "review:theplotwasbaditwasgreat"
    if family in ("gpt2", "roberta", "llama"):
        assert text_of(scorer, rendered).strip() == "Review: the plot was bad It was great"
    assert rendered.gaps[0].spaced


@pytest.mark.parametrize("family", FAMILIES)
def test_a_field_says_nothing_but_letters(scorer_of: ScorerOf, family: str) -> None:
    """No special token, whatever stands in a row; and the tokens around it stay as they are."""
    scorer = scorer_of(family)
    made = renderer(scorer, "{text} It was {mask} {text}")
    hostile, plain = made.render([Row({"text": HOSTILE}), Row({"text": "x"})])
    special = scorer.spelling.special
    assert special
    assert not special & {token for piece in hostile.pieces if isinstance(piece, tuple) for token in piece}
    assert hostile.pieces[1] == plain.pieces[1]


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_a_field_does_not_change_its_neighbours(scorer_of: ScorerOf, family: str) -> None:
    scorer = scorer_of(family)
    one, other = renderer(scorer, "A({text})b {mask}").render([Row({"text": "film"}), Row({"text": "filmb"})])
    assert (one.pieces[0], one.pieces[2:]) == (other.pieces[0], other.pieces[2:])


def test_only_fields_are_cut_and_it_is_counted(scorer_of: ScorerOf) -> None:
    scorer = scorer_of("gpt2")
    row = Row({"a": "great " * 50, "b": "bad " * 5})
    whole = renderer(scorer, "Review: {a} {b} It was {mask}.", 500).render([row])[0]
    cut = renderer(scorer, "Review: {a} {b} It was {mask}.", 30).render([row])[0]
    assert whole.cut == 0
    assert len(cut.filled([[0]])[0]) == 31
    assert cut.cut == len(whole.filled([[0]])[0]) - 31
    assert (cut.pieces[0], *cut.pieces[2:]) == (whole.pieces[0], *whole.pieces[2:])  # the short one is whole


def test_the_end_that_is_kept_and_the_share(scorer_of: ScorerOf) -> None:
    scorer = scorer_of("gpt2")
    row = Row({"a": "first " + "x " * 50 + "last", "b": "y " * 80})
    ends = [FieldOf(name="a", keep="end", share=0.25), Text(text=" "), FieldOf(name="b"), Text(text=" "), Mask()]
    rendered = renderer(scorer, ends, 40).render([row])[0]
    assert len(rendered.pieces[0]) == 10  # type: ignore[arg-type]
    assert scorer.tokenizer.decode(rendered.pieces[0]).endswith("last")  # type: ignore[arg-type]


def test_what_is_fixed_is_never_cut(scorer_of: ScorerOf) -> None:
    with pytest.raises(DanluError, match="E2306"):
        renderer(scorer_of("gpt2"), "a very long beginning: {text} {mask}", 3).render([Row({"text": "x"})])


@pytest.mark.parametrize("value", [None, ["a"], {"a": 1}, b"x"])
def test_a_field_that_is_no_text(scorer_of: ScorerOf, value: object) -> None:
    with pytest.raises(DanluError) as caught:
        renderer(scorer_of("gpt2"), "{texts} {mask}").render([Row({"texts": value, "text": "x"})])
    assert caught.value.code == "E2305"


def test_demonstrations_are_dropped_from_the_first_on(scorer_of: ScorerOf) -> None:
    scorer = scorer_of("gpt2")
    demos = [
        Demonstration(values={"text": f"film {number}"}, label=label)
        for number, label in enumerate(("good", "bad") * 4)
    ]
    made = renderer(scorer, "{demos}Text: {text} It was {mask}", 400)
    whole = made.render([Row({"text": "x"})], [demos])[0]
    text = text_of(scorer, whole)
    assert text.count("It was") == 9
    assert text.startswith("Text: film 0 It was great\nText: film 1 It was terrible\n")
    fixed = len(made.render([Row({"text": "x"})], [[]])[0].pieces[0])  # type: ignore[arg-type]
    few = renderer(scorer, "{demos}Text: {text} It was {mask}", fixed + 70).render([Row({"text": "x"})], [demos])[0]
    assert 0 < few.dropped < 8
    assert text.endswith(text_of(scorer, few))


def test_a_megabyte_is_cut_before_it_is_spelled(scorer_of: ScorerOf) -> None:
    scorer = scorer_of("bert")
    rendered = renderer(scorer, "{text} {mask}", 20).render(
        [Row({"text": "a" * 10**6}), Row({"text": "great " * 10**6})]
    )
    assert all(len(each.filled([[0]])[0]) <= 21 for each in rendered)
