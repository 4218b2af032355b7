"""How fast is an int8 encoder of BERT-base's shape, one row of 128 tokens, against transformers in float32?

Random weights: it is speed that is measured, and how far the hidden states are from the float32 model's.
`python -m benchmarks.int8_encoder`
"""

import torch
from transformers import BertConfig, BertModel

from benchmarks.alternating import quantile
from benchmarks.answer import Answer
from danlu.compress.quantize import Quantize
from danlu.kernels import status
from danlu.models.build import build
from danlu.models.families import FAMILIES
from danlu.models.weights import load

LENGTH = 128
BARS = {1: 3.4, 2: 3.2}
ERROR = 0.025


@torch.no_grad()
def main() -> None:
    torch.manual_seed(0)
    theirs = BertModel(BertConfig(attn_implementation="eager"), add_pooling_layer=False).eval()
    family = FAMILIES["bert"]
    config = family.read(theirs.config.to_dict() | {"architectures": ["BertModel"]})
    plain = build(config, "meta")
    load(plain, dict(theirs.state_dict()), family.table(config))
    plain.eval()
    tokens = torch.randint(1000, 20_000, (1, LENGTH))
    wanted = theirs(input_ids=tokens).last_hidden_state
    float32 = plain.tower(tokens)
    assert (float32 - wanted).abs().max() < 1e-3
    ours = build(config, "meta")
    load(ours, dict(theirs.state_dict()), family.table(config))
    Quantize().apply(ours).eval()
    error = float((ours.tower(tokens) - wanted).norm() / wanted.norm())
    for threads, bar in BARS.items():
        torch.set_num_threads(threads)
        took = quantile({
            "eager": lambda: theirs(input_ids=tokens), "int8": lambda: ours.tower(tokens),
            "float32": lambda: plain.tower(tokens),
        }, 16)  # fmt: skip
        conditions = {
            "threads": threads, "kernel": status()[0], "error": round(error, 4), "error_bar": ERROR,
            "our_float32_ms": round(took["float32"] * 1e3, 2),
        }  # fmt: skip
        question = f"int8 BERT-base shape, batch 1, {LENGTH} tokens, {threads} threads, ms against transformers eager"
        ratio = took["eager"] / took["int8"] if error <= ERROR else 0.0
        Answer(question, took["int8"] * 1e3, took["eager"] * 1e3, ratio, bar, conditions).show()


if __name__ == "__main__":
    main()
