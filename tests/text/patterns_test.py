"""Which regular expressions a foreign file may bring."""

import pytest

from danlu.text.patterns import QWEN, is_tame
from danlu.text.training import APART

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLIP = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@pytest.mark.parametrize("pattern", [GPT2, QWEN, LLAMA3, GPT4O, CLIP, APART, " {2,}", r"\s+", r"\A +| +\z"])
def test_the_known_ones_are_let_in(pattern: str) -> None:
    assert is_tame(pattern)


@pytest.mark.parametrize(
    "pattern",
    [r"(a+)+$", r"(?:\w+\s?)*$", r"(a|aa){5,}b", r"(.)\1+", r"a*a*a*a*a*b", "x" * 5000, r"(?R)", r"(?=(a+))\1"],
)
def test_the_wild_ones_are_not(pattern: str) -> None:
    assert not is_tame(pattern)
