"""Nothing but the text of all sources, for training a tokenizer."""

from collections.abc import Iterator

import numpy as np

from danlu.data.ledger import Ledger
from danlu.data.mixing import shares
from danlu.data.order import key
from danlu.data.settings import DataSettings
from danlu.data.sifting import read, sift
from danlu.data.sources import files_of, resolved
from danlu.voice import Voice

EXPONENT = 0.5  # XLM's for its vocabulary: small languages must not be cut into letters (Lample, Conneau 2019, 3.1)


def texts(settings: DataSettings, voice: Voice) -> Iterator[str]:
    """The text that is trained on, piece by piece. Of several languages the larger ones are thinned evenly, until they
    stand in proportion size ^ 0.5; the same for the same files."""
    settings = resolved(settings)
    sieve = sift(settings, voice)
    parts = {
        name: part
        for name, part in settings.parts.items()
        if name not in settings.sources or settings.sources[name].weight != 0
    }
    kept = np.ones(len(parts))
    if len(settings.languages) > 1:
        sizes = [max(1, sum(source.size for source in files_of(part))) for part in parts.values()]
        kept = shares(sizes, EXPONENT) / np.array(sizes)
        kept = kept / kept.max()
    for number, (name, part) in enumerate(parts.items()):
        for place, row in enumerate(read(part, name, sieve, Ledger(), voice)):
            if kept[number] == 1 or int(key(number, place)[0]) < kept[number] * 2.0**64:
                yield row.text
