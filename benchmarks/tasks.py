"""How good does a fine-tuned model get on public sets, with zero settings?

`python -m benchmarks.tasks NAME ... [--seeds 3] [--start minilm]`. One line a set: the test metric's mean over seeds
with its interval (Student's), the linear baseline where there is one, and the best published score known.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import danlu
from benchmarks.answer import SHARED, Answer
from danlu.recipes.runs.folder import read_results

DATA = SHARED / "data"
STUDENT = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5 % points, by the number of seeds


@dataclass(frozen=True)
class Set:
    """baseline: what must be beaten (linear, or the best plain one). published: what others reached, and how."""

    files: Sequence[str]
    metric: str
    baseline: float
    published: str
    columns: Mapping[str, str] = field(default_factory=dict)
    start: str = "minilm"


SETS = {
    "sst2": Set(["sst2"], "accuracy", 0.826, "CNN 88.1; BERT-base 93.5 with phrases"),
    "trec_qc": Set(["trec_qc"], "accuracy", 0.904, "CNN 93.6", {"label": "coarse"}),
    "trec_qc_fine": Set(["trec_qc"], "accuracy", 0.842, "—", {"label": "fine"}),
    "chnsenticorp_htl": Set(["chnsenticorp_htl"], "accuracy", 0.905, "none on this split", start="bert-mini"),
    "online_shopping_9cats": Set(["online_shopping_9cats"], "accuracy", 0.933, "none", {"label": "sentiment"},
                                 "bert-mini"),
    "online_shopping_category": Set(["online_shopping_9cats"], "accuracy", 0.878, "none", {"label": "category"},
                                    "bert-mini"),
    "mrpc": Set(["mrpc/train.tsv", "mrpc/dev.tsv", "mrpc/test.tsv"], "accuracy", 0.696, "Ji & Eisenstein 80.4"),
    "sick_relatedness": Set(["sick"], "pearson", 0.479, "MaLSTM 0.882", {"label": "relatedness_score"}),
    "sick_entailment": Set(["sick"], "accuracy", 0.567, "SemEval winner 84.5", {"label": "entailment_judgment"}),
    "wnut17": Set(["wnut17"], "entity_f1", 0.263, "UH-RiTUAL 41.86; lowest system 26.30"),
    "resume_ner": Set(["resume_ner"], "entity_f1", 0.0, "Lattice LSTM 94.46", start="bert-mini"),
    "ud_english_ewt": Set(["ud_english_ewt"], "tag_accuracy", 0.0, "Stanza 95.40 on raw text"),
}  # fmt: skip


def measure(name: str, start: str, seed: int, settings: Mapping[str, Any]) -> float:
    """The test metric of one run."""
    chosen = SETS[name]
    with tempfile.TemporaryDirectory() as place:
        run = danlu.finetune(
            start, [DATA / file for file in chosen.files], quiet=True, output=Path(place) / "run", seed=seed,
            data={"columns": dict(chosen.columns)}, **settings,
        )  # fmt: skip
        rows = read_results(run.path)
    return next(float(row["value"]) for row in rows if row["name"] == chosen.metric and row["data"] == "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--start")
    parser.add_argument("--settings", nargs="*", default=[], help="train.epochs=3 ...")
    options = parser.parse_args()
    settings = dict(each.split("=", 1) for each in options.settings)
    for name in options.names:
        start = options.start or SETS[name].start
        found = []
        for seed in range(options.seeds):
            found.append(measure(name, start, seed, settings))
            print(f"  {name} from {start}, seed {seed}: {found[-1]:.4f}", file=sys.stderr, flush=True)
        mean = statistics.fmean(found)
        spread = STUDENT.get(len(found), 2.0) * statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else 0.0
        conditions = {
            "start": start, "seeds": found, "interval": [round(mean - spread, 4), round(mean + spread, 4)],
            "published": SETS[name].published, **settings,
        }  # fmt: skip
        baseline = SETS[name].baseline
        question = f"{name}: test {SETS[name].metric} against the baseline"
        Answer(question, mean, baseline, mean / max(baseline, 1e-9), 1.0, conditions).show()


if __name__ == "__main__":
    main()
