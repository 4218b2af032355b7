"""Systems without a published class of their own, against their papers' formulas and the class we write them as."""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from danlu.models.build import build
from danlu.models.families import family_of, fresh
from danlu.models.language import LanguageModel
from danlu.models.weights import export


def perturbed(name: str, **words: object) -> LanguageModel:
    model = build(fresh(f"{name}-tiny", vocabulary=60, **words)[1]).eval().requires_grad_(False)
    for index, parameter in enumerate(model.parameters()):
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    assert isinstance(model, LanguageModel)
    return model


TOKENS = torch.randint(60, (2, 11), generator=torch.Generator().manual_seed(0))


def palm_formula(state: dict[str, Tensor], tokens: Tensor, depth: int, heads: int) -> Tensor:
    """PaLM, section 2: y = x + MLP(LN(x)) + Attention(LN(x)), with SwiGLU, one key and value head, rotary positions, no
    biases, a shared embedding."""
    table = state["tower.embedding.tokens.weight"]
    x, width = table[tokens], table.shape[1]
    count, size = tokens.shape[1], state["tower.transformer.blocks.0.attention.key.weight"].shape[0]
    angle = torch.outer(torch.arange(count).float(), 10_000 ** (-torch.arange(0, size, 2).float() / size))
    turn = torch.polar(torch.ones_like(angle), angle)

    def rotated(y: Tensor) -> Tensor:
        return torch.view_as_real(torch.view_as_complex(y.reshape(*y.shape[:-1], -1, 2)) * turn).flatten(-2)

    def normed(y: Tensor, name: str) -> Tensor:
        return F.layer_norm(y, (width,), state[f"{name}.weight"], None, 1e-5)

    hidden = torch.ones(count, count).triu(1).bool()
    for layer in range(depth):
        name = f"tower.transformer.blocks.{layer}"
        y = normed(x, f"{name}.norm")
        query = (y @ state[f"{name}.attention.query.weight"].T).view(2, count, heads, size).transpose(1, 2)
        key, value = (y @ state[f"{name}.attention.{part}.weight"].T for part in ("key", "value"))
        scores = rotated(query) @ rotated(key)[:, None].mT / size**0.5
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        attended = (weights @ value[:, None]).transpose(1, 2).reshape(2, count, -1)
        gate, up = (y @ state[f"{name}.mlp.{part}.weight"].T for part in ("gate", "up"))
        x = x + (F.silu(gate) * up) @ state[f"{name}.mlp.down.weight"].T
        x = x + attended @ state[f"{name}.attention.output.weight"].T
    return normed(x, "tower.transformer.norm") @ table.T * width**-0.5


def test_palm_is_its_formula() -> None:
    model = perturbed("palm")
    state = model.state_dict()
    assert not [name for name in state if name.endswith("bias")]
    torch.testing.assert_close(model(TOKENS), palm_formula(state, TOKENS, 2, 2), atol=1e-5, rtol=1e-4)


def test_palm_is_what_cohere_s_class_makes_of_it(tmp_path: Path) -> None:
    same_in(transformers.CohereForCausalLM, perturbed("palm", head_size=24), tmp_path)


def test_dense_gpt3_is_gpt2(tmp_path: Path) -> None:
    same_in(transformers.GPT2LMHeadModel, perturbed("gpt3", window=None), tmp_path)


def same_in(kind: type, model: LanguageModel, folder: Path) -> None:
    family = {"CohereForCausalLM": "palm", "GPT2LMHeadModel": "gpt3"}[kind.__name__]
    hf = fresh(f"{family}-tiny")[0].write(model.config)
    (folder / "config.json").write_text(json.dumps(hf))
    save_file(export(model, family_of(hf).table(model.config)), folder / "model.safetensors", {"format": "pt"})
    theirs, report = kind.from_pretrained(folder, output_loading_info=True)  # type: ignore[attr-defined]
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS), theirs.eval()(TOKENS).logits, atol=1e-4, rtol=1e-4)


def test_gpt3_sees_as_far_as_its_bands() -> None:
    """Of a token changed early, a banded layer alone tells only the next; the dense layer below it tells all."""
    changed = TOKENS.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 60
    reach = {}
    for windows in ((3,), (None, 3)):
        config = fresh("gpt3-tiny", vocabulary=60, depth=len(windows), windows=windows)[1]
        model = build(config).eval()
        with torch.no_grad():
            differs = (model(TOKENS) - model(changed)).abs().amax((0, 2)) > 1e-7
        reach[windows] = differs.nonzero().flatten().tolist()
    assert reach == {(3,): [2, 3, 4], (None, 3): list(range(2, 11))}
