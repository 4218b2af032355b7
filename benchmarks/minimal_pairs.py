"""What does a GPT know of English after twenty minutes on this machine?

`python -m benchmarks.minimal_pairs [--minutes 20] [--limit N]`. Trained on the English text of ../shared/data (nothing
of the test part of wikitext2, nothing of BLiMP); asked for the minimal pairs of BLiMP, where a 5-gram model trained on
three billion words has 61.2 % (Warstadt et al. 2020), and for bits a byte of the test part of wikitext2.
"""

import argparse
import csv
import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import danlu
from benchmarks.answer import SHARED, Answer

DATA = SHARED / "data"
FIVE_GRAM = 61.2
RECIPE = {
    "model": {"width": 256, "depth": 5, "heads": 4, "kv_heads": 4, "length": 256},
    "tokenizer": {"kind": "bpe", "vocabulary": 6000},
    "data": {"length": 256},
    "train": {"batch": 32, "optimizer": "muon", "lr": 4e-3, "schedule": "linear", "warmup": 0.02, "micro": 32},
    "samples": {"count": 2},
}


def opened(name: str):
    path = DATA / name
    return gzip.open(path, "rt", encoding="utf8") if path.suffix == ".gz" else path.open(encoding="utf8")


def documents() -> Iterator[str]:
    """English text, a document at a time."""
    for name in ("emma", "persuasion", "sense"):
        with opened(f"gutenberg_austen/austen-{name}.txt.gz") as file:
            yield from paragraphs(file.read(), 20)
    with opened("wikitext2/valid.txt.gz") as file:
        yield from (line.strip() for line in file if len(line) > 40)
    with opened("multi30k/train.en.gz") as file:
        lines = [line.strip() for line in file]
    yield from (" ".join(lines[at : at + 10]) for at in range(0, len(lines), 10))
    with opened("dialogsum/train.jsonl.gz") as file:
        for row in map(json.loads, file):
            yield row["dialogue"]
            yield row["summary"]
    with opened("alpaca_bilingual/train.jsonl.gz") as file:
        for row in map(json.loads, file):
            yield "\n".join(part for part in (row["en_instruction"], row["en_input"], row["en_output"]) if part)
    with opened("t0_prompts/train.jsonl.gz") as file:
        yield from (f"{row['prompt']} {row['completion']}" for row in map(json.loads, file))
    for name in ("mrpc/train.tsv", "sick/train.tsv"):
        with opened(name) as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                yield from (text for key, text in row.items() if key and key.startswith("sentence") and text)
    with opened("ud_english_ewt/train.conllu.gz") as file:
        yield from (line.removeprefix("# text = ").strip() for line in file if line.startswith("# text = "))


def paragraphs(text: str, several: int) -> Iterator[str]:
    """Portions of so many paragraphs."""
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    yield from ("\n".join(parts[at : at + several]) for at in range(0, len(parts), several))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--steps", type=int, help="how long by steps, instead of minutes")
    parser.add_argument("--limit", type=int, help="pairs of each paradigm; all 1,000 where not given")
    parser.add_argument("--family", default="qwen3-mini")
    parser.add_argument("--output", type=Path, help="keep the run here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        corpus, test = folder / "english.jsonl", folder / "test.txt"
        with corpus.open("w", encoding="utf8") as file:
            file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in documents())
        with opened("wikitext2/test.txt.gz") as file:
            test.write_text(file.read(), encoding="utf8")
        long = {"steps": options.steps} if options.steps else {"minutes": options.minutes}
        recipe = RECIPE | {"train": RECIPE["train"] | long}
        run = danlu.pretrain(options.family, corpus, output=options.output or folder / "run", **recipe)
        size = corpus.stat().st_size
        limit = {"limit": options.limit} if options.limit else {}
        pairs = danlu.call("evaluate", run.path, DATA / "blimp/blimp.jsonl.gz", **limit).metrics
        text = danlu.call("evaluate", run.path, test).metrics
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    conditions = {
        **long, "seconds": steps[-1]["seconds"], "family": options.family, "recipe": RECIPE, "corpus_bytes": size,
        "steps": len(steps), "tokens": steps[-1]["tokens"], "pairs": pairs, "wikitext2_test": text,
    }  # fmt: skip
    accuracy = 100 * pairs["pairs"]["value"]
    question = f"BLiMP accuracy (%) after {options.minutes:g} minutes, against a 5-gram's"
    Answer(question, accuracy, FIVE_GRAM, accuracy / FIVE_GRAM, 1.0, conditions).show()


if __name__ == "__main__":
    main()
