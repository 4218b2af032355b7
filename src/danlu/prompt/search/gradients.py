"""What the gradient promises of every token in the place of a trigger: HotFlip's first order (Ebrahimi et al. 2018)."""

from collections.abc import Sequence

import torch

from danlu.prompt.search.ground import Ground
from danlu.prompt.search.triggers import Tokens
from danlu.prompt.search.vocabulary import Answer, Vocabulary
from danlu.prompt.spec import PromptSpec

PROMISING = 48  # tokens remembered for each place
FULL = 3  # a backward pass counts for two forward ones


def with_triggers(spec: PromptSpec, words: Sequence[str]) -> PromptSpec:
    """The prompt with words before its first template's answer, or behind it where it begins with that."""
    return spec.but(templates=[_put(spec, " ".join(words)), *spec.lines[1:]])


def promising(ground: Ground, vocabulary: Vocabulary, tokens: Tokens, answer: Answer) -> list[list[int]]:
    """For each trigger the tokens that would make the right answers likelier, by the gradient of the pool's loss: the
    vectors of the triggers stand as soft ones, and every word's vector is compared with their gradients."""
    found: list[list[int]] = answer({"gradient": list(tokens)}, lambda: _asked(ground, vocabulary, tokens))
    return found


def _asked(ground: Ground, vocabulary: Vocabulary, tokens: Tokens) -> tuple[list[list[int]], int]:
    scorer, before = ground.scorer, ground.scorer.tokens_spent
    spec = ground.hand.but(templates=[_put(ground.hand, f"{{soft:{len(tokens)}}}"), *ground.hand.lines[1:]])
    table = scorer.tables[0].weight.detach()
    vectors = table[torch.tensor(tokens, device=table.device)].clone().requires_grad_()
    was, state = scorer.model.training, [each.requires_grad for each in scorer.model.parameters()]
    try:
        scorer.model.eval().requires_grad_(False)
        with torch.enable_grad():
            logs = scorer.forward(spec, ground.pool, {"soft": vectors})
            loss = -logs.gather(1, ground.right(ground.pool).to(logs.device)[:, None]).sum()
            (gradient,) = torch.autograd.grad(loss, vectors)
    finally:
        scorer.model.train(was)
        for each, wanted in zip(scorer.model.parameters(), state, strict=True):
            each.requires_grad_(wanted)
    known = torch.tensor(list(vocabulary.words.values()), device=table.device)
    gains = -gradient.float() @ table[known].float().T
    best = gains.argsort(dim=1, descending=True, stable=True)[:, :PROMISING]
    return known[best].tolist(), FULL * (scorer.tokens_spent - before)


def _put(spec: PromptSpec, words: str) -> str:
    """The line of the first template with words beside its answer."""
    line = spec.lines[0]
    hole = "{mask}" if "{mask}" in line else "{label}"
    before, _, after = line.partition(hole)
    return f"{before.rstrip()} {words} {hole}{after}".strip() if before.strip() else f"{hole} {words}{after}"
