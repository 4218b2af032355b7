"""How long does a token take, written by a GPT-2-small-shaped model in int4?

12 layers of width 768 and a vocabulary of 4,096, after 32 tokens; milliseconds a token over 64 tokens. Against float32
and bfloat16 here, and llama.cpp's Q4_0 where llama-cpp-python is installed; measured beside it on this kind of machine
that took 4.7 ms on one thread and 3.2 on two, which are the bars otherwise. `python -m benchmarks.decoding`
"""

import copy

import torch

from benchmarks.alternating import quantile
from benchmarks.answer import Answer
from danlu.compress.quantize import Quantize
from danlu.kernels import status
from danlu.models.build import Model, build
from danlu.models.families import FAMILIES

LLAMA_CPP_MS = {1: 4.7, 2: 3.2}  # Q4_0, the same shape
PROMPT, WRITTEN = 32, 64


@torch.no_grad()
def main() -> None:
    config = FAMILIES["gpt2"].make(**{**FAMILIES["gpt2"].sizes["base"], "vocabulary": 4096, "dropout": 0.0})
    plain = build(config).eval()
    int4 = Quantize(coding="int4", embeddings="int4").apply(copy.deepcopy(plain))
    half = copy.deepcopy(plain).to(torch.bfloat16)
    for threads, theirs in LLAMA_CPP_MS.items():
        torch.set_num_threads(threads)
        took = quantile({
            "int4": lambda: write(int4), "float32": lambda: write(plain), "bfloat16": lambda: write(half),
        }, 7)  # fmt: skip
        each = {name: seconds / WRITTEN * 1e3 for name, seconds in took.items()}
        tokens = torch.randint(4096, (1, 128))
        prefill = quantile({"int4": lambda tokens=tokens: int4(tokens)}, 10)["int4"] * 1e3
        conditions = {
            "threads": threads, "kernel": status()[0], "float32_ms": round(each["float32"], 2),
            "bfloat16_ms": round(each["bfloat16"], 2), "prefill_128_ms": round(prefill, 1),
            "theirs": "llama.cpp Q4_0, measured before on this kind of machine",
        }  # fmt: skip
        question = f"a token of a GPT-2-small shape in int4, {threads} threads, ms against llama.cpp Q4_0"
        Answer(question, each["int4"], theirs, theirs / each["int4"], 1.0, conditions).show()


def write(model: Model) -> None:
    """A prompt, and one token after the other, the most probable each."""
    cache = model.new_cache(PROMPT + WRITTEN + 1)  # type: ignore[union-attr]
    logits = model(torch.arange(PROMPT)[None] + 7, cache=cache)
    for _ in range(WRITTEN):
        logits = model(logits[:, -1:].argmax(-1), cache=cache)


if __name__ == "__main__":
    main()
