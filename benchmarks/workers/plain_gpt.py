"""A small GPT in plain PyTorch, trained by nanoGPT's recipe for CPUs: `plain_gpt.py TRAIN VALIDATION`.

It stands in where no checkout of nanoGPT is at hand. The recipe (its README, "I only have a macbook"): 4 layers of 4
heads, 128 wide, context 64, batches of 12, characters, 2,000 steps, no dropout, not compiled; AdamW at 1e-3 falling by
a cosine to 1e-4, 100 steps of warm-up, betas 0.9 and 0.99, decay 0.1 on matrices, clipping at 1; every 250 steps the
loss of 20 batches of each part. Prints "step N: train loss X, val loss Y", as nanoGPT does.
"""

import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, DEPTH, HEADS, LENGTH, BATCH, STEPS, EVERY, LOOKS = 128, 4, 4, 64, 12, 2000, 250, 20


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.inputs, self.output = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        heads = [part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in self.inputs(self.first(x)).chunk(3, 2)]
        seen = F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.output(seen)
        return x + self.down(F.gelu(self.up(self.second(x))))


class Model(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks, self.norm = nn.Sequential(*(Block() for _ in range(DEPTH))), nn.LayerNorm(WIDTH, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                residual = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * DEPTH) if residual else 0.02)

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        logits = self.norm(self.blocks(x)) @ self.tokens.weight.T
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def rate(step):
    if step < 100:
        return 1e-3 * (step + 1) / 101
    return 1e-4 + 0.5 * (1 + math.cos(math.pi * (step - 100) / (STEPS - 100))) * 9e-4


def main():
    torch.manual_seed(1337)
    texts = [Path(name).read_text(encoding="utf8") for name in sys.argv[1:3]]
    letters = {letter: number for number, letter in enumerate(sorted(set("".join(texts))))}
    parts = [torch.tensor([letters[letter] for letter in text]) for text in texts]
    model = Model(len(letters))
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99))

    def batch(part):
        starts = torch.randint(len(part) - LENGTH, (BATCH,))
        rows = torch.stack([part[at : at + LENGTH + 1] for at in starts.tolist()])
        return rows[:, :-1], rows[:, 1:]

    for step in range(STEPS + 1):
        if step % EVERY == 0:
            with torch.no_grad():
                losses = [sum(model(*batch(part)).item() for _ in range(LOOKS)) / LOOKS for part in parts]
            print(f"step {step}: train loss {losses[0]:.4f}, val loss {losses[1]:.4f}", flush=True)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        loss = model(*batch(parts[0]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


if __name__ == "__main__":
    main()
