"""Is a text worth reading? Rules that need no model."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from danlu.data.grams import words_of
from danlu.data.settings import FilterSettings

# Which share of a text's lines, paragraphs or characters may come again (Rae et al. 2021, table A1).
AGAIN, AGAIN_CHARACTERS = 0.3, 0.2
MOST_FREQUENT: Mapping[int, float] = {2: 0.20, 3: 0.18, 4: 0.16}  # size of a run of words -> share of characters
REPEATED: Mapping[int, float] = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
FEW_WORDS = 50  # shares of runs mean little in shorter texts

# The script that most letters of a language belong to; a name as Unicode has it begins every letter's own.
SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "Latin": ("LATIN",), "Han": ("CJK",), "Japanese": ("CJK", "HIRAGANA", "KATAKANA"),
    "Korean": ("HANGUL", "CJK"), "Cyrillic": ("CYRILLIC",), "Greek": ("GREEK",), "Arabic": ("ARABIC",),
    "Hebrew": ("HEBREW",), "Devanagari": ("DEVANAGARI",), "Thai": ("THAI",), "Bengali": ("BENGALI",),
    "Tamil": ("TAMIL",), "Telugu": ("TELUGU",), "Georgian": ("GEORGIAN",), "Armenian": ("ARMENIAN",),
}  # fmt: skip
WRITTEN: Mapping[str, str] = {
    **dict.fromkeys(("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "fi", "pl", "cs", "sk", "hu", "ro",
                     "tr", "vi", "id", "ms", "sw", "et", "lv", "lt", "hr", "sl", "af", "eu", "ca", "gl"), "Latin"),
    **dict.fromkeys(("zh", "yue", "lzh", "wuu"), "Han"), "ja": "Japanese", "ko": "Korean",
    **dict.fromkeys(("ru", "uk", "bg", "sr", "mk", "be", "kk", "mn"), "Cyrillic"), "el": "Greek",
    **dict.fromkeys(("ar", "fa", "ur"), "Arabic"), "he": "Hebrew",
    **dict.fromkeys(("hi", "mr", "ne"), "Devanagari"), "th": "Thai", "bn": "Bengali", "ta": "Tamil", "te": "Telugu",
    "ka": "Georgian", "hy": "Armenian",
}  # fmt: skip


def fault(text: str, settings: FilterSettings, language: str | None = None) -> str | None:
    """The first reason why a text should be left out, a key of the ledger's REASONS; None where there is none."""
    visible = [character for character in text if not character.isspace()]
    count = max(1, len(visible))
    kinds = Counter(map(_kind, visible))
    limits = (
        ("too short", settings.characters is not None and len(text) < settings.characters),
        ("too long", settings.most is not None and len(text) > settings.most),
        ("few letters", settings.letters is not None and kinds["letter"] < settings.letters * count),
        ("many digits", settings.digits is not None and kinds["digit"] > settings.digits * count),
        ("many symbols", settings.symbols is not None and kinds["symbol"] > settings.symbols * count),
    )
    for reason, holds in limits:
        if holds:
            return reason
    if settings.script is not None and script_share(visible, language) < settings.script:
        return "another script"
    return "repetitive" if settings.repetition and repeats(text) else None


def script_share(letters: Sequence[str], language: str | None) -> float:
    """The share of the letters that belong to a language's script; 1 where the language is not known."""
    names = SCRIPTS.get(WRITTEN.get((language or "").split("-")[0].lower(), ""))
    own = [letter for letter in letters if letter.isalpha()]
    if names is None or not own:
        return 1.0
    return sum(_script(letter) in names for letter in own) / len(own)


def repeats(text: str) -> bool:
    """Gopher's rules: lines and paragraphs that come again, a run of two to four words that fills the text, longer
    runs that stand in it more than once."""
    for units in (text.split("\n"), re.split(r"\n\s*\n", text)):
        filled = [unit.strip() for unit in units if unit.strip()]
        seen = Counter(filled)
        again = [unit for unit, count in seen.items() for _ in range(count - 1)]
        if len(filled) > 1 and len(again) > AGAIN * len(filled):
            return True
        if len(filled) > 1 and sum(map(len, again)) > AGAIN_CHARACTERS * len(text):
            return True
    words = words_of(text)
    if len(words) < FEW_WORDS:
        return False
    size = sum(map(len, words))
    frequent = any(_most_frequent(words, length) > limit * size for length, limit in MOST_FREQUENT.items())
    return frequent or any(_repeated(words, length) > limit * size for length, limit in REPEATED.items())


def _most_frequent(words: list[str], length: int) -> int:
    """Characters covered by the most frequent run of words, if it comes more than once."""
    run, count = Counter(_runs(words, length)).most_common(1)[0]
    return sum(map(len, run)) * count if count > 1 else 0


def _repeated(words: list[str], length: int) -> int:
    """Characters in runs of words that come more than once, each counted once."""
    counts = Counter(_runs(words, length))
    covered = [False] * len(words)
    for at, run in enumerate(_runs(words, length)):
        if counts[run] > 1:
            covered[at : at + length] = [True] * length
    return sum(len(word) for word, counted in zip(words, covered, strict=True) if counted)


def _runs(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[at:] for at in range(length)), strict=False)


@lru_cache(1 << 16)
def _kind(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] in "LM":
        return "letter"
    return "digit" if category[0] == "N" else "punctuation" if category[0] == "P" else "symbol"


@lru_cache(1 << 16)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ")[0].split("-")[0]
