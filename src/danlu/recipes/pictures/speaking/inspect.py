"""`danlu data inspect palm-vision-mini PICTURES`: pictures as the model will see them, and what it is asked of them."""

import torch
from rich.console import Console
from rich.table import Table

from danlu.data.batch import IGNORED, Batch
from danlu.files import replace_file
from danlu.recipes.pictures.inspect import visible
from danlu.recipes.pictures.shown import thumbnail_of
from danlu.recipes.pictures.speaking.begin import begin
from danlu.recipes.pictures.speaking.rows import Material, loader, questions
from danlu.recipes.pictures.speaking.stage import plan
from danlu.recipes.runs.call import Answer, Call
from danlu.report.pictures import Shown, pictures_page
from danlu.settings import Data
from danlu.text.tokenizer import Tokenizer


def inspect(call: Call, rows: int, html: object = None) -> Answer:
    """The first batch's first `rows` rows of each kind, as training would take them; how many there are."""
    ready = plan(call.without("rows", "html"))
    if call.dry_run:
        return call.rehearse(ready.settings)
    checkpoint, made = begin(ready, call.voice)
    assert checkpoint.tokenizer
    found: list[Shown] = []
    media = getattr(checkpoint.config, "media", -1)
    for side in made.training:
        settings = ready.settings
        batches = loader(checkpoint, side, settings, settings.train.batch, settings.seed, shuffle=True)
        batch = batches.batch(0)
        _, numbers = batches.samples(0)
        for at in range(min(rows, batch.rows)):
            number = int(numbers[at])
            found.append(
                Shown(
                    picture=visible(batch.inputs["images"][at]),
                    source=thumbnail_of(side.data.pixels[side.data.index[number]]),
                    caption=" · ".join(" → ".join(filter(None, each)) for each in questions(side.pairs[number])),
                    tokens=written(checkpoint.tokenizer, batch, at, media),
                    where=side.pairs[number].where,
                )
            )
    counts = counted(made)
    table = Table(call.voice.pick("picture", "图片"), call.voice.pick("row: [asked for]", "行：[要求作答]"), box=None)
    for each in found:
        table.add_row(each.where, " ".join(each.tokens))
    Console().print(table, markup=False)
    print("  ".join(f"{name} {value:,}" for name, value in counts.items()))
    if html:
        replace_file(html, pictures_page(found, counts, call.voice))  # type: ignore[arg-type]
        call.voice.say(f"page: {html}", f"网页：{html}")
    return Answer(metrics=counts, files=(html,) if html else ())  # type: ignore[arg-type]


def written(tokenizer: Tokenizer, batch: Batch, at: int, media: int) -> list[str]:
    """A row as tokens: what is asked for in brackets, branches parted by a bar, a picture as its number of tokens."""
    tokens, targets = batch.inputs["tokens"][at].tolist(), batch.targets["tokens"][at].tolist()
    branches = batch.inputs.get("branches", torch.zeros_like(batch.inputs["tokens"]))[at].tolist()
    last = max((place for place, target in enumerate(targets) if target != IGNORED), default=len(tokens) - 1)
    found: list[str] = []
    count = tokens.count(media)
    for place in range(last + 1):
        if tokens[place] == media:
            found += [f"<{count} × picture>"] if place == 0 or tokens[place - 1] != media else []
            continue
        if place and branches[place] != branches[place - 1]:
            found.append("|")
        (piece,) = tokenizer.pieces([tokens[place]])
        asked = place and targets[place - 1] != IGNORED
        found.append(f"[{piece}]" if asked else piece)
        if targets[place] != IGNORED and (place == last or branches[place + 1] != branches[place]):
            found.append(f"[{tokenizer.pieces([targets[place]])[0]}]")
    return found


def counted(made: Material) -> Data:
    sides = made.training
    return {
        "pictures": sum(len(side.pairs) for side in sides if side.frames == 1),
        "films": sum(len(side.pairs) for side in sides if side.frames > 1),
        "questions": sum(len(each) for side in sides for each in side.data.questions),
        "captions": sum(len(side.data.framed) for side in sides),
        "held out": sum(len(side.pairs) for side in made.validation),
        "dropped": made.ledger.dropped.total(),
    }
