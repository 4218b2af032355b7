"""`danlu ls models`, `danlu ls recipes` and `danlu ls runs`."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from danlu.checkpoint import INSTALLABLE, Checkpoint, installed
from danlu.models.build import memory, parameters
from danlu.models.families import FAMILIES, fresh
from danlu.recipes.pretraining.presets import presets
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import Run, is_run
from danlu.recipes.runs.machine import size_in_words
from danlu.report.scale import short
from danlu.settings import Data
from danlu.voice import clock

STATES = {"finished": ("finished", "已完成"), "interrupted": ("interrupted", "已中断"), "empty": ("empty", "空")}


def listing(call: Call) -> Answer:
    """The verb."""
    call.build(Common)
    action, rest = call.choose(("models", "recipes", "runs"))
    return {"models": models, "recipes": recipes, "runs": runs}[action](rest)


def models(call: Call) -> Answer:
    """Every family and size: parameters, memory to use and to train, and what is on this machine."""
    call.take()
    pick = call.voice.pick
    heads = (pick("model", "模型"), pick("parameters", "参数量"), pick("to run", "运行"), pick("to train", "训练"), "")
    table = Table(*heads, box=None, pad_edge=False)
    rows: list[Data] = []
    for family in FAMILIES.values():
        table.add_row(f"[bold]{family.name}[/bold]", "", "", "", pick(family.en, family.zh))
        configs = {f"{family.name}-{size}": fresh(f"{family.name}-{size}")[1] for size in family.sizes}
        for name, config in sorted(configs.items(), key=lambda each: parameters(each[1])):
            count, running, training = parameters(config), memory(config), memory(config, True)
            rows.append({"name": name, "parameters": count, "memory": running, "training": training})
            table.add_row(f"  {name}", short(count), size_in_words(running), size_in_words(training), "")
    for name, folder in installed().items():
        model = INSTALLABLE[name]
        count, running = parameters(Checkpoint.peek(folder)[1]), memory(Checkpoint.peek(folder)[1])
        rows.append({"name": name, "parameters": count, "memory": running, "folder": folder})
        table.add_row(f"[bold]{name}[/bold]", short(count), size_in_words(running), "", pick(model.en, model.zh))
    show(table)
    call.voice.say(
        "memory: to run in float32, and to train with AdamW before activations",
        "内存：分别为 float32 运行所需，以及用 AdamW 训练所需（不含激活值）",
    )
    return Answer(metrics={"models": rows})


def recipes(call: Call) -> Answer:
    """How the papers trained their models, and our own way: at the papers' size, before it is scaled."""
    call.take()
    pick = call.voice.pick
    heads = (("recipe", "配方"), ("optimiser", "优化器"), ("rate", "学习率"), ("schedule", "调度"), ("batch", "批次"),
             ("length", "长度"), ("steps", "步数"), ("from", "出处"))  # fmt: skip
    table = Table(*(pick(*head) for head in heads), box=None, pad_edge=False)
    for name, preset in presets().items():
        rate = preset.rate if isinstance(preset.rate, float) else max((preset.rate or {0: 0.0}).values())
        amounts = [f"{each:,}" if each else "" for each in (preset.batch, preset.length, preset.steps)]
        schedule = preset.settings["train"]["schedule"]
        table.add_row(f"[bold]{name}[/bold]", preset.optimizer, f"{rate:g}" if rate else "", schedule, *amounts,
                      preset.sources[0].where)  # fmt: skip
    show(table)
    call.voice.say(
        "batch in tokens; a run takes less of each as the model and the text are smaller: docs/en/recipes.md",
        "批次以词元计；模型与文本较小时会相应缩减：见 docs/zh/recipes.md",
    )
    return Answer(metrics={"recipes": {name: preset.model_dump(mode="json") for name, preset in presets().items()}})


def runs(call: Call) -> Answer:
    """Every run in a folder: how far, how good, how long."""
    (word,) = call.take("FOLDER", optional=1)
    folder = Path(word or "runs")
    pick = call.voice.pick
    titles = (
        ("run", "运行"),
        ("state", "状态"),
        ("start", "起点"),
        ("step", "步数"),
        ("loss", "损失"),
        ("held out", "验证"),
        ("time", "用时"),
    )
    table = Table(*(pick(*title) for title in titles), box=None, pad_edge=False)
    rows = [describe(Run(path)) for path in sorted(folder.glob("*")) if is_run(path)] if folder.is_dir() else []
    for row in rows:
        cells = (row["run"], pick(*STATES[row["state"]]), row["start"], row["step"])
        table.add_row(*map(str, cells), _number(row["loss"]), _number(row["held_out"]), clock(row["seconds"] or 0))
    if rows:
        show(table)
    else:
        call.voice.say(f"no runs in {folder}; make one with: danlu demo", f"{folder} 中没有运行；可先试：danlu demo")
    return Answer(metrics={"runs": rows})


def describe(run: Run) -> Data:
    metrics = run.metrics
    start = run.config.get("start", "")
    facts = {"run": str(run), "state": run.state, "start": start, "step": metrics.get("step", 0)}
    return facts | {
        "loss": metrics.get("loss"),
        "held_out": metrics.get("validation_loss"),
        "seconds": metrics.get("seconds"),
    }


def show(table: Table) -> None:
    """To stdout, as wide as it needs in a pipe."""
    console = Console()
    console.print(table) if console.is_terminal else Console(width=200).print(table)


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ""
