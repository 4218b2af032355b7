"""Text to shards to every packed row once: `tokenize_ours.py TEXT TOKENIZER LENGTH`."""

import json
import sys
import tempfile
import time

import numpy as np

from danlu.data.packing import Rows, masked_frame
from danlu.data.shards import prepare
from danlu.data.sources import DataSettings
from danlu.text.tokenizer import Tokenizer
from danlu.voice import Voice

text, where, length = sys.argv[1], sys.argv[2], int(sys.argv[3])
tokenizer = Tokenizer.read(where)
tokenizer.fingerprint  # noqa: B018 - theirs is not asked to hash its tokenizer either

with tempfile.TemporaryDirectory() as cache:
    start = time.perf_counter()
    corpus = prepare(DataSettings(paths=text, cache=cache), tokenizer, Voice(quiet=True))
    rows = Rows(corpus, length, masked_frame(tokenizer.special))
    taken = sum(rows.take(np.arange(at, min(at + 256, len(rows)))).tokens.size for at in range(0, len(rows), 256))
    seconds = time.perf_counter() - start

print(
    json.dumps({"tokens": corpus.size, "placed": taken, "seconds": seconds, "tokens_per_second": corpus.size / seconds})
)
