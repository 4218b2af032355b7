"""How far a model is from another one that it was made of: the same answers, the same probabilities, the same layers.

Shapes: N things asked for, V answers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from danlu.data.batch import Batch
from danlu.evaluate.intervals import Interval, bootstrap
from danlu.generate.rest import at_rest

Logits = Callable[[nn.Module, Batch], Tensor]  # of what a batch asks for: (N, V)


@dataclass(frozen=True)
class Agreement:
    """same: how often the likeliest answer is the same. divergence: KL(first ‖ second), nats an answer."""

    same: Interval
    divergence: float

    def plain(self) -> dict[str, Any]:
        return {"same": self.same.plain(), "divergence": self.divergence}


def agree(first: nn.Module, second: nn.Module, batches: Iterable[Batch], logits: Logits) -> Agreement:
    """Two models of the same answers on the same batches."""
    same: list[float] = []
    apart, count = 0.0, 0
    for batch in batches:
        found = []
        for model in (first, second):
            with at_rest(model) as device:
                found.append(logits(model, batch.to(device)).float().cpu())
        ours, theirs = (each.log_softmax(-1) for each in found)
        same += (found[0].argmax(-1) == found[1].argmax(-1)).double().tolist()
        apart += float((ours.exp() * (ours - theirs)).sum())
        count += len(ours)
    return Agreement(bootstrap(same), apart / max(1, count))


def layer_errors(first: nn.Module, second: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, float]:
    """By path of a layer that both have, with outputs of one shape: the length of the difference of its outputs, as a
    share of the first one's. What layers below did is part of it."""
    outputs = []
    for model in (first, second):
        with at_rest(model) as device, _noting(model) as noted:
            model(**{name: each.to(device) for name, each in inputs.items()})
        outputs.append(noted)
    ours, theirs = outputs
    return {
        path: float((out - theirs[path]).norm() / out.norm().clamp(min=1e-12))
        for path, out in ours.items()
        if path in theirs and theirs[path].shape == out.shape
    }


@contextmanager
def _noting(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What blocks, and the layers at both ends of them, gave last."""
    noted: dict[str, Tensor] = {}

    def note(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, out: Any) -> None:
            if isinstance(out, Tensor):
                noted[path] = out.float().cpu()

        return hook

    hooks = [
        module.register_forward_hook(note(path))
        for path, module in model.named_modules()
        if ".blocks." in path and hasattr(module, "out_features") and not path.endswith((".base", ".up.up"))
    ]
    hooks += [
        module.register_forward_hook(note(path))
        for path, module in model.named_modules()
        if path.rpartition(".")[0].endswith(".blocks")
    ]
    try:
        yield noted
    finally:
        for hook in hooks:
            hook.remove()
