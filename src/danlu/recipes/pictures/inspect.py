"""`danlu data inspect clip-mini PICTURES`: the pictures as the model will see them, and their captions as tokens."""

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from danlu.data.pictures.prepare import Prepared
from danlu.files import replace_file
from danlu.recipes.pictures.plan import plan
from danlu.recipes.pictures.pretrain import begin, loaders
from danlu.recipes.pictures.shown import thumbnail, thumbnail_of
from danlu.recipes.runs.call import Answer, Call
from danlu.report.pictures import Shown, pictures_page
from danlu.settings import Data
from danlu.text.tokenizer import Tokenizer


def inspect(call: Call, rows: int, html: object = None) -> Answer:
    """The first batch's first `rows` pairs, as training would take them; how many there are of each kind."""
    ready = plan(call.without("rows", "html"))
    if call.dry_run:
        return call.rehearse(ready.settings)
    checkpoint, prepared = begin(ready, call.voice)
    assert checkpoint.tokenizer
    training = loaders(ready, checkpoint, prepared).training
    batch = training.batch(0)
    _, numbers = training.samples(0)
    count = min(rows, batch.rows)
    side = prepared.training
    found = [
        Shown(
            picture=visible(batch.inputs["images"][at]),
            source=thumbnail(side, int(numbers[at])),
            caption=side.captions[int(batch.targets["alike"][at])],
            tokens=pieces(checkpoint.tokenizer, batch.inputs["tokens"][at], batch.inputs.get("valid"), at),
            where=side.pairs[int(numbers[at])].where,
        )
        for at in range(count)
    ]
    counts = counted(prepared)
    table = Table(call.voice.pick("picture", "图片"), call.voice.pick("caption as tokens", "说明（词元）"), box=None)
    for each in found:
        table.add_row(each.where, "·".join(each.tokens))
    Console().print(table)
    print("  ".join(f"{name} {value:,}" for name, value in counts.items()))
    if html:
        replace_file(html, pictures_page(found, counts, call.voice))  # type: ignore[arg-type]
        call.voice.say(f"page: {html}", f"网页：{html}")
    return Answer(metrics=counts, files=(html,) if html else ())  # type: ignore[arg-type]


def counted(prepared: Prepared) -> Data:
    held = prepared.validation
    return {
        "pictures": len(prepared.training.pairs),
        "captions": len(prepared.training.captions),
        "held out": len(held.pairs) if held else 0,
        "dropped": prepared.ledger.dropped.total(),
    }


def visible(numbers: torch.Tensor) -> str:
    """What the model is given, stretched over black to white, as a small PNG in base64; of a film three frames."""
    low, high = float(numbers.min()), float(numbers.max())
    pixels = ((numbers - low) / max(1e-6, high - low) * 255).round().to(torch.uint8)
    return thumbnail_of(np.asarray(pixels.movedim(-3, -1)))


def pieces(tokenizer: Tokenizer, tokens: torch.Tensor, valid: torch.Tensor | None, at: int) -> list[str]:
    kept = tokens if valid is None else tokens[valid[at]]
    return tokenizer.pieces(kept.tolist())
