"""What does GPTQ of a model of 125 million parameters cost on this machine, in minutes and memory?

GPT-2 small's shape, random weights, 64 rows of 512 tokens. `python -m benchmarks.gptq_cost`
"""

import resource
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.answer import Answer
from danlu.compress.calibration import Calibration
from danlu.compress.quantize import Quantize
from danlu.models.build import build
from danlu.models.families import FAMILIES

BAR_MINUTES, BAR_GIGABYTES = 15.0, 6.0
ROWS, LENGTH, BATCH = 64, 512, 8


@dataclass
class Rows:
    inputs: dict[str, Tensor]
    targets: dict[str, Tensor] = field(default_factory=dict)


def main() -> None:
    torch.manual_seed(0)
    config = FAMILIES["gpt2"].make(**FAMILIES["gpt2"].sizes["base"])
    model = build(config).eval()
    batches = [Rows({"tokens": torch.randint(config.vocabulary, (BATCH, LENGTH))}) for _ in range(ROWS // BATCH)]
    start = time.perf_counter()
    Quantize(coding="int4", method="gptq").apply(model, Calibration(batches, dtype=torch.bfloat16))
    minutes = (time.perf_counter() - start) / 60
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    conditions = {
        "threads": torch.get_num_threads(), "tokens": ROWS * LENGTH, "peak_gigabytes": round(gigabytes, 2),
        "memory_bar": BAR_GIGABYTES,
    }  # fmt: skip
    ratio = BAR_MINUTES / minutes if gigabytes <= BAR_GIGABYTES else 0.0
    Answer("GPTQ int4 of GPT-2 small, minutes", minutes, BAR_MINUTES, ratio, 1.0, conditions).show()


if __name__ == "__main__":
    main()
