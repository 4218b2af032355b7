"""Metrics of short answers, as SQuAD's script takes them; the best of several right answers counts."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from danlu.tasks.metrics.metric import Cases, Metric, mean_of

HAN = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
KANA = "\u3040-\u30ff"
PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}\u3000-\u303f\uff01-\uff0f\uff1a-\uff1f]")
ARTICLES = re.compile(r"\b(a|an|the)\b")


def plain(text: str) -> str:
    """Lower case, without punctuation, articles and superfluous spaces (Rajpurkar et al. 2016)."""
    return " ".join(ARTICLES.sub(" ", PUNCTUATION.sub("", text.lower())).split())


def words(text: str) -> list[str]:
    """Words of a plain text; every Chinese character is one."""
    return re.findall(f"[{HAN}{KANA}]|[^\\s{HAN}{KANA}]+", plain(text))


def same(said: str, right: str) -> float:
    return float(plain(said) == plain(right))


def shared(said: str, right: str) -> float:
    """F1 of the two bags of words; an empty answer is only right where nothing was to be said."""
    ours, theirs = words(said), words(right)
    common = sum((Counter(ours) & Counter(theirs)).values())
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * common / (len(ours) + len(theirs))


def texts_of(reference: Any) -> Sequence[str]:
    """One right answer, or several."""
    return [reference] if isinstance(reference, str) else [str(each) for each in reference] or [""]


def best(score: Callable[[str, str], float]) -> Callable[[Cases], list[float]]:
    """A row's score against whichever of its right answers is nearest."""

    def values(cases: Cases) -> list[float]:
        rows = zip(cases.predictions, cases.references, strict=True)
        return [max(score(str(said), right) for right in texts_of(reference)) for said, reference in rows]

    return values


ANSWER_METRICS = (
    Metric("exact_match", "exact match", "完全匹配率", "{:.2%}", dear=True, of=mean_of(best(same))),
    Metric("token_f1", "token F1", "词元 F1", "{:.2%}", dear=True, of=mean_of(best(shared))),
)
