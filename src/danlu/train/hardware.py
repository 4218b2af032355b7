"""What the processor offers, and what to do when its memory runs out."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from danlu.errors import DanluError
from danlu.train.settings import Precision

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


def compute_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """bf16 where it is wanted, or where "auto" finds a processor that multiplies it natively."""
    if wanted == "auto":
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    return torch.bfloat16 if wanted == "bf16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Matrix products in bf16; nothing at all in float32."""
    return torch.autocast(device.type, dtype) if dtype == torch.bfloat16 else nullcontext()


def set_chance(seed: int, device: torch.device) -> None:
    """Seed the generators a step draws from.

    torch.manual_seed would do, but it also visits every kind of device torch knows; where one is absent, the call is
    queued for it, with its stack, for ever.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left. torch's CPU allocator says so in words only."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)


@contextmanager
def naming_memory(where: object) -> Iterator[None]:
    """Memory that runs out where nothing smaller can be tried is an E1705."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise DanluError("E1705", where=where, found=str(error).partition("\n")[0]) from error
        raise


def give_back_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """While entered, torch spreads its work over so many cores; None: as many as it found."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def recomputed(model: nn.Module, wanted: bool) -> Iterator[None]:
    """While entered, each block keeps only its input for the backward pass (Chen et al. 2016).

    Blocks are the members of the model's outermost module lists. A block's chance is drawn again as it was drawn first.
    """
    chosen = list(blocks(model)) if wanted else []
    for block in chosen:
        block.forward = partial(_recompute, block.forward)
    try:
        yield
    finally:
        for block in chosen:
            del block.forward  # the instance's; the class's shows again


@contextmanager
def compiled(model: nn.Module, wanted: bool) -> Iterator[None]:
    """While entered, each block runs as torch.compile made it; blocks of one shape share the work of compiling."""
    chosen = list(blocks(model)) if wanted else []
    for block in chosen:
        block.compile()
    try:
        yield
    finally:
        for block in chosen:
            block._compiled_call_impl = None


def _recompute(forward: Any, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of a model's outermost module lists."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from blocks(child)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False
