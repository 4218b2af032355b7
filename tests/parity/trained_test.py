"""A real trained model of the Llama architecture, in a format that turns neighbouring pairs."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from danlu.models.build import build
from danlu.models.families import fresh
from danlu.models.language import LanguageModel
from danlu.nn.parameters import assign
from danlu.nn.positions import RotaryPositions

FOLDER = Path(__file__).parents[2].parent / "shared/weights/aidreams260K"


def read(path: Path) -> LanguageModel:
    """A llama2.c file, version 0: seven whole numbers, then float32 tensors, each kind for all layers together."""
    raw = path.read_bytes()
    width, inner, depth, heads, kv_heads, vocabulary, length = struct.unpack("7i", raw[:28])
    config = fresh(
        "llama-tiny", vocabulary, width=width, inner=inner, depth=depth, heads=heads, kv_heads=kv_heads, tied=True,
        positions=RotaryPositions(length=length, pairs="neighbours"),
    )[1]  # fmt: skip
    model = build(config, "meta")
    order = [
        "attention_norm", "attention.query", "attention.key", "attention.value", "attention.output", "mlp_norm",
        "mlp.gate", "mlp.down", "mlp.up",
    ]  # fmt: skip
    names = ["tower.embedding.tokens"]
    names += [f"tower.transformer.blocks.{layer}.{part}" for part in order for layer in range(depth)]
    names += ["tower.transformer.norm"]
    numbers, start, tensors = np.frombuffer(raw, np.float32, offset=28), 0, {}
    for name in (f"{name}.weight" for name in names):
        shape = model.get_parameter(name).shape
        tensors[name] = torch.tensor(numbers[start : start + shape.numel()]).view(shape)
        start += shape.numel()
    assign(model, tensors)
    assert isinstance(model, LanguageModel)
    return model.eval()


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the shared trained files are not here")
def test_greedy_text_is_that_of_the_reference_program() -> None:
    model = read(FOLDER / "aidreams260K.bin")
    expected = json.loads((FOLDER / "expected_greedy.json").read_text())
    tokens, wanted = [expected["bos_id"]], expected["greedy_ids_after_bos"]
    cache = model.new_cache(capacity=len(wanted))
    with torch.no_grad():
        while len(tokens) <= len(wanted):
            logits = model(torch.tensor([tokens[-1:]]), cache=cache)
            tokens.append(int(logits[0, -1].argmax()))
    assert tokens[1:] == wanted
