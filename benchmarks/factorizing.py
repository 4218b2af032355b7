"""Which factors are worth most, without any training afterwards?

`python -m benchmarks.factorizing [--epochs 3] [--keep 0.25] [--folder DIR]`. all-MiniLM-L6-v2 fine-tuned on SST-2; a
quarter of the parameters of its blocks stays. Published for BERT-base (dense 92.6): plain SVD 58.9, Fisher-weighted
60.2, whitened 78.2. The bar: the same order, and ranks allotted together better than the same share for each layer.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.answer import Answer
from benchmarks.compressing import before, classifier, compressed, value

WAYS = {
    "svd": {"method": "svd", "allocation": "uniform"}, "fisher": {"method": "fisher", "allocation": "uniform"},
    "whitened": {"method": "whitened", "allocation": "uniform"}, "felt": {"method": "felt", "allocation": "uniform"},
    "together": {"method": "felt"},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--keep", type=float, default=0.25)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    start = classifier(asked.folder or Path(tempfile.mkdtemp()), asked.epochs)
    found = {name: compressed(start, f"sst2-{name}", factorize={"keep": asked.keep, **way})
             for name, way in WAYS.items()}  # fmt: skip
    accuracy = {name: round(value(each), 4) for name, each in found.items()}
    dense = before(found["svd"])
    lost = {name: max(1e-4, dense - value(each)) for name, each in found.items()}
    conditions = {"dense": round(dense, 4), "accuracy": accuracy, "keep": asked.keep, "epochs": asked.epochs}
    plain = min(lost["svd"], lost["fisher"])
    Answer("accuracy lost by factors, ours against plain ones", lost["together"], plain, plain / lost["together"], 1.5,
           conditions).show()  # fmt: skip


if __name__ == "__main__":
    main()
