"""How fast is one row through int4 layers whose weights come from memory, and 32 rows, against float32?

2048 by 2048, groups of 128; so many different matrices that no cache holds them. `python -m benchmarks.int4_linear`
"""

import torch
from torch.nn import functional as F

from benchmarks.alternating import quantile
from benchmarks.answer import Answer
from danlu.kernels import Coded, linear, native, status
from danlu.kernels.products import layer_of
from danlu.nn.coding import nearest

WIDTH, MATRICES, GROUP = 2048, 24, 128
BARS = {(1, 1): 10.0, (1, 2): 14.0, (32, 1): 5.0, (32, 2): 5.0}  # by rows and threads


def main() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(WIDTH, WIDTH) / WIDTH**0.5 for _ in range(MATRICES)]
    int4 = [nearest(weight, "int4", GROUP) for weight in weights]
    int8 = [nearest(weight, "int8", None) for weight in weights]
    for (rows, threads), bar in BARS.items():
        torch.set_num_threads(threads)
        x = torch.randn(rows, WIDTH)
        took = quantile({
            "float32": lambda x=x: [F.linear(x, weight) for weight in weights],
            "int4": lambda x=x: _all(int4, x),
            "int8": lambda x=x: _all(int8, x),
            "operator": lambda x=x: [linear(x, coded) for coded in int4],
        }, 24 if rows == 1 else 6)  # fmt: skip
        each = {name: seconds / MATRICES * 1e6 for name, seconds in took.items()}
        conditions = {
            "rows": rows, "threads": threads, "kernel": status()[0], "int8_us": round(each["int8"], 1),
            "through_torch_us": round(each["operator"], 1),
            "gigabytes_a_second": round(int4[0].nbytes / each["int4"] / 1e3, 1),
        }  # fmt: skip
        question = f"int4 linear {WIDTH}x{WIDTH}, {rows} rows, {threads} threads, microseconds against float32"
        Answer(question, each["int4"], each["float32"], each["float32"] / each["int4"], bar, conditions).show()


def _all(coded: list[Coded], x: torch.Tensor) -> None:
    kernels = native()
    assert kernels, status()[1]
    y = x.new_empty(len(x), WIDTH)
    for each in coded:
        kernels.linear(layer_of(each), x, y)


if __name__ == "__main__":
    main()
