"""How fast is text made into packed rows, against `datasets.map` with the same tokenizer?

Theirs is what transformers' run_mlm example does: map(tokenise, batched), then map(group_texts, batched), with one
process and with two; the faster one counts. Ours reads the same files into shards and takes every row once. Each worker
is a process of its own with an empty cache; the clock starts when libraries and tokenizer are there.
"""

import argparse
import gzip
import sys
import tempfile
from pathlib import Path

from benchmarks.answer import SHARED, Answer, interleaved, median

LENGTH = 128
TOKENIZER = "weights/tokenizers/bert_base_uncased_vocab.txt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=4, help="how often the text is repeated")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        texts = [gzip.open(given.data / f"wikitext2/{name}.txt.gz", "rt").read() for name in ("valid", "test")]  # noqa: SIM115
        (folder / "text.txt").write_text("".join(texts) * given.copies)
        common = [str(folder / "text.txt"), str(given.data.parent / TOKENIZER), str(LENGTH)]
        workers = {
            name: [str(Path(__file__).parent / "workers" / script), *common, *rest]
            for name, script, rest in (
                ("ours", "tokenize_ours.py", []),
                ("one process", "tokenize_datasets.py", ["1"]),
                ("two processes", "tokenize_datasets.py", ["2"]),
            )
        }
        rows = interleaved(workers, given.rounds, folder)
    rates = {name: median(found, "tokens_per_second") for name, found in rows.items()}
    theirs = max(rates["one process"], rates["two processes"])
    conditions = {"tokens": rows["ours"][0]["tokens"], "length": LENGTH, "rounds": given.rounds, **rates}
    question = "text to packed rows, tokens a second, against datasets.map"
    Answer(question, rates["ours"], theirs, rates["ours"] / theirs, 2.0, conditions).show()


if __name__ == "__main__":
    sys.exit(main())
