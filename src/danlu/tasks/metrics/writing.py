"""Metrics of written texts: BLEU and chrF as sacrebleu defines them, ROUGE as rouge-score does."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from danlu.tasks.metrics.answering import HAN, KANA, best, texts_of
from danlu.tasks.metrics.metric import Cases, Floats, Metric, added, divided, mean_of

ORDERS = 4  # n-grams of words, Papineni et al. 2002
LETTERS, BETA = 6, 2  # n-grams of characters, and the weight of recall: Popović 2015, chrF2
# rouge-score's words (in Latin letters only those of ASCII); characters of Chinese; words of other scripts.
WORDS = re.compile(f"[a-z0-9]+|[{HAN}{KANA}]|[^\\W\\d_\u0000-\u024f{HAN}{KANA}]+")


def tokenization(texts: Sequence[str]) -> str:
    """sacrebleu's name for how these texts are cut: `zh` for Chinese, `char` for Japanese, else `13a`."""
    text = "".join(texts[:200])
    letters = sum(map(str.isalpha, text)) or 1
    kana, han = (len(re.findall(f"[{script}]", text)) / letters for script in (KANA, HAN))
    return "char" if kana > 0.1 else "zh" if han > 0.3 else "13a"


def matches(cases: Cases) -> Floats:
    """(N, 10): length, reference length, n-grams found, n-grams written."""
    references = [texts_of(reference) for reference in cases.references]
    bleu = BLEU(tokenize=tokenization([each[0] for each in references]), effective_order=True)
    scores = (bleu.sentence_score(str(said), right) for said, right in zip(cases.predictions, references, strict=True))
    rows = [(each.sys_len, each.ref_len, *each.counts, *each.totals) for each in scores]
    return np.array(rows, float).reshape(-1, 2 + 2 * ORDERS)


def bleu(sums: Floats) -> Floats:
    """(..., 10) -> BLEU of 0 to 100, zero counts smoothed as mteval does (each halves the one before)."""
    size, wanted = sums[..., 0], sums[..., 1]
    found, written = sums[..., 2 : 2 + ORDERS], sums[..., 2 + ORDERS :]
    none = (found == 0) & (written > 0)
    smooth = np.where(none, 0.5 ** none.cumsum(-1), found)
    share = divided(smooth, written)
    whole = (found.sum(-1) > 0) & (written > 0).all(-1)
    logs = np.log(np.where(whole[..., None], share, 1.0)).mean(-1)
    brevity = np.exp(np.minimum(0.0, 1 - divided(wanted, np.where(whole, size, 1.0))))
    return np.where(whole, 100 * brevity * np.exp(logs), 0.0)


def letters(cases: Cases) -> Floats:
    """(N, 18): for each order, n-grams of characters written, wanted, found; against the nearest reference."""
    rows = []
    for said, reference in zip(cases.predictions, cases.references, strict=True):
        ours = _grams(str(said))
        options = [_common(ours, _grams(right)) for right in texts_of(reference)]
        rows.append(max(options, key=lambda each: float(chrf(each))))
    return np.array(rows, float).reshape(-1, 3 * LETTERS)


def chrf(sums: Floats) -> Floats:
    """(..., 18) -> chrF2 of 0 to 100: F of the mean precision and mean recall over the orders that both sides have."""
    written, wanted, found = np.moveaxis(sums.reshape(*sums.shape[:-1], LETTERS, 3), -1, 0)
    both = (written > 0) & (wanted > 0)
    orders = both.sum(-1).astype(float)
    precision = divided(np.where(both, divided(found, written), 0.0).sum(-1), orders)
    recall = divided(np.where(both, divided(found, wanted), 0.0).sum(-1), orders)
    return 100 * divided((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)


def _grams(text: str) -> list[Counter[str]]:
    dense = "".join(text.split())
    return [Counter(dense[at : at + size] for at in range(len(dense) - size + 1)) for size in range(1, LETTERS + 1)]


def _common(ours: Sequence[Counter[str]], theirs: Sequence[Counter[str]]) -> Floats:
    """(18,) as sacrebleu counts: what was written does not count where nothing is wanted."""
    rows = [(a.total() if b else 0, b.total(), (a & b).total()) for a, b in zip(ours, theirs, strict=True)]
    return np.array(rows, float).flatten()


def rouge_words(text: str) -> list[str]:
    return WORDS.findall(text.lower())


def rouge(size: int) -> Callable[[str, str], float]:
    """F1 of n-grams of words (Lin 2004)."""

    def score(said: str, right: str) -> float:
        ours, theirs = (
            Counter(tuple(each[at : at + size]) for at in range(len(each) - size + 1))
            for each in (rouge_words(said), rouge_words(right))
        )
        return _f(sum((ours & theirs).values()), ours.total(), theirs.total())

    return score


def rouge_l(said: str, right: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004)."""
    ours, theirs = rouge_words(said), rouge_words(right)
    return _f(subsequence(ours, theirs), len(ours), len(theirs))


def subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence, a row of the table at a time as bits of one number (Hyyrö 2004)."""
    places: dict[str, int] = defaultdict(int)
    for at, word in enumerate(first):
        places[word] |= 1 << at
    whole = row = (1 << len(first)) - 1
    for word in second:
        match = row & places.get(word, 0)
        row = ((row + match) | (row - match)) & whole
    return len(first) - row.bit_count()


def _f(common: int, ours: int, theirs: int) -> float:
    return 2 * common / (ours + theirs) if common else 0.0


WRITING_METRICS = (
    Metric("bleu", "BLEU", "BLEU", "{:.2f}", dear=True, of=added(matches, bleu)),
    Metric("chrf", "chrF", "chrF", "{:.2f}", of=added(letters, chrf)),
    Metric("rouge_1", "ROUGE-1", "ROUGE-1", "{:.2%}", dear=True, of=mean_of(best(rouge(1)))),
    Metric("rouge_2", "ROUGE-2", "ROUGE-2", "{:.2%}", of=mean_of(best(rouge(2)))),
    Metric("rouge_l", "ROUGE-L", "ROUGE-L", "{:.2%}", dear=True, of=mean_of(best(rouge_l))),
)
