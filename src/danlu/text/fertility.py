"""How many tokens a tokenizer spends on a text: the price of a language, before any model is trained."""

from collections.abc import Mapping
from dataclasses import dataclass

from danlu.text.tokenizer import Tokenizer

CHUNK = 10_000


@dataclass(frozen=True)
class Fertility:
    """One tokenizer on one text. `unknown` is the share of tokens that stand for nothing known, 0 to 1; `whole` whether
    decoding gives the text back exactly."""

    tokenizer: str
    text: str
    vocabulary: int
    characters: int
    bytes: int
    tokens: int
    unknown: float
    whole: bool

    @property
    def per_character(self) -> float:
        """Tokens a character."""
        return self.tokens / self.characters if self.characters else 0.0

    @property
    def per_byte(self) -> float:
        """Tokens a byte of UTF-8; 1 over it is the compression."""
        return self.tokens / self.bytes if self.bytes else 0.0


def compare(tokenizers: Mapping[str, Tokenizer], texts: Mapping[str, str]) -> list[Fertility]:
    """Every tokenizer on every text (a language, a file), text by text, in the order given."""
    return [
        measure(name, tokenizer, title, text) for title, text in texts.items() for name, tokenizer in tokenizers.items()
    ]


def measure(name: str, tokenizer: Tokenizer, title: str, text: str) -> Fertility:
    """Long texts are encoded line by line, as data is."""
    parts = text.splitlines(keepends=True) if len(text) > CHUNK else [text]
    encoded = tokenizer.encode_many(parts)
    unknown = tokenizer.special.get("unknown", -1)
    tokens = sum(map(len, encoded))
    strange = sum(ids.count(unknown) for ids in encoded)
    whole = all(tokenizer.decode(ids) == part for ids, part in zip(encoded, parts, strict=True))
    return Fertility(
        name, title, tokenizer.vocabulary, len(text), len(text.encode("utf8")), tokens,
        strange / tokens if tokens else 0.0, whole,
    )  # fmt: skip
