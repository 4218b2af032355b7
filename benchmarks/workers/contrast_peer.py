"""Train the same CLIP on the same pictures with open_clip's model and loss in a plain loop, or, where open_clip is not
installed, with transformers' CLIPModel; images/s after the first steps, as JSON."""

import json
import resource
import sys
import time
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

WARM, LENGTH = 3, 77
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def open_clip_model(vocabulary: int) -> tuple[nn.Module, Any, str]:
    import open_clip
    from open_clip.loss import ClipLoss
    from open_clip.model import CLIP

    vision = {"image_size": 64, "patch_size": 8, "width": 192, "layers": 4, "head_width": 64}
    text = {"context_length": LENGTH, "vocab_size": vocabulary, "width": 192, "heads": 3, "layers": 4}
    model = CLIP(192, vision, text, quick_gelu=True)
    loss = ClipLoss()

    def step(images: Tensor, tokens: Tensor) -> Tensor:
        found: Tensor = loss(*model(images, tokens)[:3])
        return found

    return model, step, f"open_clip {open_clip.__version__}"


def published_model(vocabulary: int) -> tuple[nn.Module, Any, str]:
    import transformers

    side = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 3}
    text = side | {"vocab_size": vocabulary, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1}
    config = transformers.CLIPConfig(
        text_config=text, vision_config=side | {"image_size": 64, "patch_size": 8}, projection_dim=192
    )
    model = transformers.CLIPModel(config)

    def step(images: Tensor, tokens: Tensor) -> Tensor:
        found: Tensor = model(input_ids=tokens, pixel_values=images, return_loss=True).loss
        return found

    return model, step, f"transformers {transformers.__version__}"


def main(steps: int, batch: int, precision: str, pixels_file: str) -> None:
    data = np.load(pixels_file)
    pixels, tokens = data["pixels"], torch.from_numpy(data["tokens"])
    vocabulary = int(tokens.max()) + 1
    try:
        model, take, peer = open_clip_model(vocabulary)
    except (ImportError, RuntimeError):  # torchvision, which it needs, fits only torch's own build
        model, take, peer = published_model(vocabulary)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.1)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    chance, start = np.random.default_rng(0), 0.0
    for step in range(steps + WARM):
        if step == WARM:
            start = time.perf_counter()
        rows = chance.integers(len(pixels), size=batch)
        images = (torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).float() / 255 - mean) / std
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext():
            loss = take(images, tokens[rows])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    seconds = time.perf_counter() - start
    print(json.dumps({
        "images_per_second": steps * batch / seconds, "threads": torch.get_num_threads(), "precision": precision,
        "peer": peer, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
