"""`danlu export START FORMAT [output=FOLDER]`: a model as other programs read it, and how far they are from it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from danlu.checkpoint import Checkpoint
from danlu.compress.quantize import Quantize
from danlu.errors import DanluError, nearest
from danlu.export.folders import write_folder
from danlu.export.gguf_file import Type, write_gguf
from danlu.export.onnx_file import write_onnx
from danlu.export.outcome import Outcome
from danlu.nn.quantized import quantized
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import slug

FAR = 0.5  # a difference between logits beyond which something is wrong, not rounded


class Export(Common):
    """type: of a GGUF file's matrices that are no codes yet. coding, group: of the codes that compressed-tensors and
    gptq need, where the model has none; found by rounding alone (danlu compress has better ways). int8: ONNX with
    8-bit products."""

    type: Type = "q8_0"
    coding: Literal["int8", "int4"] = "int4"
    group: int = 128
    int8: bool = True


def export(call: Call) -> Answer:
    """The verb. E1006 for a format there is none of, E1620 where something stands in the way, E2501 to E2505."""
    settings = call.build(Export)
    start, name = call.take("START", "FORMAT")
    assert start
    assert name
    if name not in FORMATS:
        raise DanluError("E1006", found=name, possible=list(FORMATS), nearest=nearest(name, FORMATS))
    folder = Path(settings.output or Path("exports") / f"{slug(start)}-{name}")
    if folder.exists():
        raise DanluError("E1620", where=folder, name=folder)
    checkpoint = Checkpoint.load(start, seed=settings.seed)
    checkpoint = checkpoint.merged() if checkpoint.adapted else checkpoint
    if call.dry_run:
        return call.rehearse(settings)
    if name in ("compressed-tensors", "gptq") and not quantized(checkpoint.model):
        call.voice.say(
            f"the model has no codes yet: rounded to {settings.coding}", f"模型尚未量化：先舍入为 {settings.coding}"
        )
        change = Quantize(
            coding=settings.coding, symmetric=True, group=settings.group if settings.coding == "int4" else None
        )
        change.apply(checkpoint.model)
    outcome = FORMATS[name](checkpoint, folder, settings)
    _say(call, outcome)
    return Answer(
        metrics=outcome.facts(), files=outcome.files, passed=outcome.difference is None or outcome.difference < FAR
    )


def _say(call: Call, outcome: Outcome) -> None:
    say = call.voice.say
    say(f"{len(outcome.coded)} matrices as codes, {len(outcome.plain)} as numbers",
        f"{len(outcome.coded)} 个矩阵为编码，{len(outcome.plain)} 个为浮点数")  # fmt: skip
    if outcome.plain:
        shown = ", ".join(outcome.plain[:6]) + (" …" if len(outcome.plain) > 6 else "")
        say(f"  as numbers: {shown}", f"  浮点数：{shown}")
    if outcome.difference is None:
        say(f"not replayed: {outcome.judge} are not all installed", f"未回放：未全部安装 {outcome.judge}")
    else:
        say(f"replayed by {outcome.judge}: logits differ by {outcome.difference:.2g} at most",
            f"由 {outcome.judge} 回放：logits 最大相差 {outcome.difference:.2g}")  # fmt: skip
    for file in outcome.files:
        say(f"  {file}  {file.stat().st_size:,} B", f"  {file}  {file.stat().st_size:,} 字节")


FORMATS: Mapping[str, Callable[[Checkpoint, Path, Export], Outcome]] = {
    "gguf": lambda model, folder, wanted: write_gguf(model, folder / "model.gguf", wanted.type),
    "onnx": lambda model, folder, wanted: write_onnx(model, folder, wanted.int8),
    "compressed-tensors": lambda model, folder, _: write_folder(model, folder, "compressed-tensors"),
    "gptq": lambda model, folder, _: write_folder(model, folder, "gptq"),
}
