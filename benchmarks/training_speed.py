"""How fast does danlu train, against transformers' Trainer as shipped and as tuned by hand?

`python -m benchmarks.training_speed [masked|causal|documents ...] [--rounds 3] [--steps 12]`. The text is wikitext2.
"""

import argparse
import gzip
import tempfile
from pathlib import Path

from benchmarks.answer import SHARED, Answer, interleaved, median

WORKERS = Path(__file__).parent / "workers"
BARS = {  # question -> (against shipped, against tuned, most memory as a share of shipped's)
    "masked": (3.5, 2.2, None),
    "causal": (1.9, 1.3, 0.6),
    "documents": (2.5, None, None),
}


def ask(kind: str, rounds: int, steps: int) -> None:
    """Both answers, and what they were measured under."""
    shipped_bar, tuned_bar, memory_bar = BARS[kind]
    with tempfile.TemporaryDirectory() as place:
        text = Path(place) / "wikitext.txt"
        text.write_text(wikitext(kind), encoding="utf8")
        theirs = [str(WORKERS / "trainer_lm.py"), kind]
        ours = [str(WORKERS / "danlu_lm.py"), kind, str(text), str(steps)]
        calls = {"ours": ours, "shipped": [*theirs, "shipped", str(text), str(steps)]}
        if tuned_bar is not None:
            calls |= {
                "tuned": [*theirs, "tuned", str(text), str(steps)],
                "ours without dropout": [*ours, "0"],
                "tuned without dropout": [*theirs, "tuned", str(text), str(steps), "0"],
            }
        rows = interleaved(calls, rounds, Path(place))
    speed = {name: median(found, "tokens_per_second") for name, found in rows.items()}
    memory = {name: median(found, "peak_mb") for name, found in rows.items()}
    conditions = {
        "rounds": rounds, "steps": steps, "threads": rows["ours"][0]["threads"], "text": "wikitext2 valid",
        "dropout": "0.1 in all, unless said", "peak_mb": memory,
        "peer": rows["shipped"][0]["peer"].split(" Trainer")[0],
    }  # fmt: skip
    if tuned_bar is not None:
        plain = speed["ours without dropout"]
        ratio = plain / speed["tuned without dropout"]
        conditions["without_dropout"] = {"ours": plain, "ratio_to_tuned": round(ratio, 3)}
    for share in ("gflops", "square_gflops", "share_of_square", "share_of_shapes"):
        if share in rows["ours"][0]:
            conditions[share] = {name: median(rows[name], share) for name in ("ours", "ours without dropout")}
    unit = f"{kind} language modelling, tokens/s against transformers' Trainer"
    if memory_bar is not None:
        ratio = memory["shipped"] / memory["ours"]
        question = f"{kind} language modelling, peak memory (MB) of the Trainer as shipped"
        Answer(question, memory["ours"], memory["shipped"], ratio, 1 / memory_bar, {}).show()
    if tuned_bar is not None:
        ratio = speed["ours"] / speed["tuned"]
        Answer(f"{unit} tuned", speed["ours"], speed["tuned"], ratio, tuned_bar, conditions).show()
    ratio = speed["ours"] / speed["shipped"]
    Answer(f"{unit} as shipped", speed["ours"], speed["shipped"], ratio, shipped_bar, conditions).show()


def wikitext(kind: str) -> str:
    """The text; for `documents` each of its lines, a heading or a paragraph, is one, with a blank line after it."""
    with gzip.open(SHARED / "data/wikitext2/valid.txt.gz", "rt", encoding="utf8") as source:
        text = source.read()
    return text if kind != "documents" else "\n\n".join(line.strip() for line in text.splitlines() if line.strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=list(BARS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    for kind in options.kinds:
        ask(kind, options.rounds, options.steps)


if __name__ == "__main__":
    main()
