"""What a run takes, reckoned: bytes by part, operations, what devices tell each other. No machine is asked.

P parameters, D width, I inner width, L layers, T tokens of a row, R rows in one forward pass, N devices.
"""

import math
from dataclasses import dataclass

from danlu.models.build import ModelConfig, parameters
from danlu.nn.transformer import TransformerConfig
from danlu.recipes.estimating.machines import NODE, Machine
from danlu.recipes.pretraining.defaults import operations, width
from danlu.train.settings import TrainSettings

REACHED = 0.4  # of a GPU's peak, by a whole training step; see docs/en/scale.md
CONTEXT = 600 << 20  # bytes that a GPU's driver and libraries take before the first tensor
LOGITS = 1 << 26  # values of logits at once, see nn/loss.py
MOMENTS = {"adamw": 2.0, "muon": 1.2, "lamb": 2.0, "lion": 1.0, "adafactor": 0.1}  # values kept a parameter


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    rest: int = 0  # the process itself, the best weights, what torch holds

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.rest


def stacks(config: ModelConfig) -> list[TransformerConfig]:
    return [stack for _, stack in config if isinstance(stack, TransformerConfig)]


def states(config: ModelConfig, train: TrainSettings, devices: int) -> Memory:
    """Weights, gradients, the optimiser's memory: 4 bytes a number, divided where they are sharded."""
    shares = devices if train.sharded else 1
    each = 4 * parameters(config) // shares
    return Memory(each, each, int(each * MOMENTS.get(train.optimizer, 2.0)), 0)


def kept_by_block(stack: TransformerConfig, half: bool) -> float:
    """Bytes a block keeps for the backward pass, a token, with a kernel that keeps no attention weights.

    The residual stream and what norms read are float32; what goes into and comes out of matrix products is bf16.
    Norm inputs 2 x 4D; products' inputs: 2D for query, key and value, 2D for the output, 2D for the feed-forward;
    query, key, value and their result 2(2 + 2G/H)D; the feed-forward's inside 2 x 2I, or 4 x 2I where it is gated;
    masks of dropout, a byte each.
    """
    low = 2 if half else 4
    grouped = (stack.attention.kv_heads or stack.attention.heads) / stack.attention.heads
    inner = stack.attention.heads * stack.head_size
    looks = 2 if stack.cross_attention else 1
    attention = 4 * stack.width + 2 * low * stack.width + low * inner * (1 + 2 * grouped)
    feed_forward = 4 * stack.width + low * stack.width + low * stack.mlp.inner * (4 if stack.mlp.gated else 2)
    masks = (looks + 1) * stack.width if stack.dropout else 0
    return looks * attention + feed_forward + masks


def activations(config: ModelConfig, train: TrainSettings, rows: int, length: int, half: bool) -> int:
    """Bytes kept of a forward pass of `rows` rows, and the largest thing that exists beside it."""
    tokens = rows * length
    if train.recompute:  # each block's input, and one block at a time
        kept = sum(4 * stack.width * stack.depth for stack in stacks(config)) + max(
            kept_by_block(stack, half) for stack in stacks(config)
        )
    else:
        kept = sum(kept_by_block(stack, half) * stack.depth for stack in stacks(config))
    logits = min(LOGITS, tokens * config.vocabulary) * (10 if half else 12)
    head = config.vocabulary * width(config) * (6 if half else 4)  # its gradient, and the matrix in the lower precision
    return int(tokens * kept) + logits + head


def work(config: ModelConfig, length: int, recompute: bool) -> float:
    """Floating-point operations of training on one token: 6 a weight, and 12 D T a layer for attention (PaLM, app. B),
    half of that where only earlier tokens are seen; a third more where blocks are computed again."""
    looks = sum(
        12 * s.attention.heads * s.head_size * length * s.depth * (0.5 if s.causal else 1) for s in stacks(config)
    )
    return (operations(config) + looks) * (4 / 3 if recompute else 1)


def on_machine(
    machine: Machine, config: ModelConfig, train: TrainSettings, length: int, devices: int, half: bool
) -> tuple[Memory, float]:
    """Memory of one device, and seconds of a step, with `devices` of a named machine."""
    rows = math.ceil(train.batch / devices)
    micro = min(train.micro or rows, rows)
    state = states(config, train, devices)
    largest = max((4 * parameters(config) // max(1, sum(s.depth for s in stacks(config)))) * 2, 0)
    rest = CONTEXT + (largest if train.sharded and devices > 1 else 0)
    memory = Memory(
        state.weights, state.gradients, state.optimizer, activations(config, train, micro, length, half), rest
    )
    tokens = rows * length * train.accumulate
    compute = tokens * work(config, length, train.recompute) / (REACHED * machine.peak(half))
    update = 5 * 4 * parameters(config) / (devices if train.sharded else 1) / (1e12 * machine.bandwidth)
    return memory, compute + update + waiting(machine, config, train, devices, compute)


def waiting(machine: Machine, config: ModelConfig, train: TrainSettings, devices: int, compute: float) -> float:
    """Seconds of a step in which devices wait for each other.

    A ring moves 2 (N - 1) / N of the gradients through each link (Patarasuk, Yuan 2009), half as much again where
    weights are gathered before the forward and the backward pass (FSDP). Two thirds of the computing, the backward
    pass, hide it. Beyond a node of 8 the network counts, here an eighth of the link.
    """
    if devices == 1:
        return 0.0
    link = 1e9 * (machine.link if devices <= NODE else machine.link / 8)
    moved = 4 * parameters(config) * 2 * (devices - 1) / devices * (1.5 if train.sharded else 1.0)
    return max(0.0, moved / link - compute * 2 / 3)
