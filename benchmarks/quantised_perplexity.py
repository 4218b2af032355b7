"""How much perplexity do int4 codes lose on a model pretrained here, by rounding alone, GPTQ and AWQ?

`python -m benchmarks.quantised_perplexity MODEL TEXT`: a causal model's folder or run, and a text of its domain that it
has not read. Groups of 128, three draws of 64 rows to calibrate with; a quarter of the rows, at most 200, is measured
on. Bar: GPTQ loses at most half of what rounding loses, and at most 6 %. Divergence from the model as it was stands
beside it.
"""

import copy
import math
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.answer import Answer
from danlu.checkpoint import Checkpoint
from danlu.compress.calibration import Calibration
from danlu.compress.quantize import Quantize
from danlu.models.build import Model

SEEDS, ROWS, BATCH, MOST = 3, 64, 16, 200
WAYS = {
    "rtn": {}, "gptq": {"method": "gptq"}, "awq": {"method": "awq"}, "awq_gptq": {"method": "gptq", "balance": "awq"},
}  # fmt: skip


@dataclass
class Rows:
    inputs: dict[str, Tensor]
    targets: dict[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def main() -> None:
    checkpoint = Checkpoint.load(sys.argv[1])
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    assert tokenizer is not None
    ids = torch.tensor(tokenizer.encode(Path(sys.argv[2]).read_text(encoding="utf8")))
    length = min(512, model.config.length or 512)
    rows = ids[: len(ids) // length * length].view(-1, length)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    held = rows[: min(MOST, len(rows) // 4)]
    plain, _ = measured(model, model, held)
    found: dict[str, list[tuple[float, float]]] = {}
    for name, words in WAYS.items():
        for seed in range(SEEDS if words else 1):
            drawn = torch.randperm(len(rows) - len(held), generator=torch.Generator().manual_seed(seed))[:ROWS]
            batches = [Rows({"tokens": each}) for each in rows[len(held) :][drawn].split(BATCH)]
            made = Quantize(coding="int4", **words).apply(copy.deepcopy(model), Calibration(batches))  # type: ignore[arg-type]
            perplexity, divergence = measured(made, model, held)
            found.setdefault(name, []).append((perplexity / plain - 1, divergence))
            print(
                f"  {name}, seed {seed}: {found[name][-1][0]:+.2%}, divergence {divergence:.5f}",
                file=sys.stderr,
                flush=True,
            )
    lost = {name: statistics.mean(each[0] for each in runs) for name, runs in found.items()}
    conditions = {
        "perplexity": round(plain, 3), "rows": len(held), "length": length,
        "lost": {name: [round(each[0], 5) for each in runs] for name, runs in found.items()},
        "divergence": {name: [round(each[1], 6) for each in runs] for name, runs in found.items()},
    }  # fmt: skip
    holds = lost["gptq"] <= 0.06
    ratio = lost["rtn"] / max(lost["gptq"], 1e-6) if holds else 0.0
    question = "perplexity lost by int4 codes in groups of 128: GPTQ against rounding"
    Answer(question, lost["gptq"], lost["rtn"], ratio, 2.0, conditions).show()


def measured(made: Model, plain: Model, rows: Tensor) -> tuple[float, float]:
    """Perplexity, and the mean divergence of answers from the plain model's, in nats a token."""
    loss = divergence = 0.0
    for batch in rows.split(4):
        answers, wanted = made(batch[:, :-1]).log_softmax(-1), plain(batch[:, :-1]).log_softmax(-1)
        loss -= float(answers.gather(2, batch[:, 1:, None]).sum())
        divergence += float(F.kl_div(answers, wanted, log_target=True, reduction="sum"))
    count = rows.shape[0] * (rows.shape[1] - 1)
    return math.exp(loss / count), divergence / count


if __name__ == "__main__":
    main()
