"""How text is cut before a byte-level tokenizer sees it, and which regular expressions of foreign files are let in."""

import re
from typing import Any, Literal

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers

from danlu.errors import DanluError

Pattern = Literal["gpt2", "qwen"]

# Qwen2's cut: digits apart, one mark may lead a word, line breaks stay together.
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LONGEST, REPEATS = 4_000, 3


def byte_level(tokenizer: Tokenizer, pattern: Pattern, leading_space: bool = False) -> None:
    """Give a BPE tokenizer GPT-2's bytes (Radford et al. 2019) and one of the known cuts."""
    if pattern == "qwen":
        tokenizer.normalizer = normalizers.NFC()
        cut = pre_tokenizers.Split(Regex(QWEN), "isolated")
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, to_bytes])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=leading_space)
    tokenizer.decoder = decoders.ByteLevel()


def check_regexes(data: Any, where: object) -> None:
    """E1304 where a tokenizer file brings an expression that could take longer than its text is long to the third."""
    waiting = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            pattern = item.get("Regex")
            if isinstance(pattern, str) and not is_tame(pattern):
                raise DanluError("E1304", where=where, found=pattern)
            waiting += [value for name, value in item.items() if name not in ("vocab", "merges")]
        elif isinstance(item, list):
            waiting += item


def is_tame(pattern: str) -> bool:
    """No repeated groups, no references, few repeats in a row: nothing that backtracks without bound."""
    plain = re.sub(r"\\p\{\^?\w+\}|\\[^0-9gk]", "x", pattern)
    if len(pattern) > LONGEST or "\\" in plain:
        return False
    plain = re.sub(r"\[\^?\]?(?:[^\[\]]|\[[^\[\]]*\])*\]", "x", plain)
    if re.search(r"\)(?:[*+]|\{)|\(\?(?:[R&P(]|\d)", plain):
        return False
    return all(len(re.findall(r"[*+]|\{\d+,\}", part)) <= REPEATS for part in plain.split("|"))
