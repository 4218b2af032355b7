"""`danlu prompt ladder START DATA`: how far up is worth climbing, from a prompt by hand to the whole model trained."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from danlu.evaluate.judge import compared, measured
from danlu.evaluate.predictions import FILE, Prediction
from danlu.files import new_folder, replace_file, replace_json
from danlu.prompt.tuning import VECTORS
from danlu.recipes.prompting.planning import Plan, plan
from danlu.recipes.prompting.rungs import METRIC, Ladder, answers, at, height, reached
from danlu.recipes.prompting.tuning import course, parts
from danlu.recipes.runs.call import Answer, Call
from danlu.recipes.runs.folder import PROMPT, Run, add_results
from danlu.recipes.runs.machine import size_in_words
from danlu.recipes.runs.performing import perform
from danlu.recipes.runs.processes import refuse_several
from danlu.report.card import write_card
from danlu.report.ladder import TITLES
from danlu.report.run import write_report
from danlu.settings import Data
from danlu.train.distributed import World
from danlu.voice import Voice, clock

RECORD = "ladder.json"


def ladder(call: Call) -> Answer:
    """The verb."""
    refuse_several("prompt ladder", call)
    return perform(call, "prompt ladder", lambda call: plan(call, Ladder, "ladder"), introduce, carry_out)


def introduce(ready: Plan[Ladder], voice: Voice) -> None:
    rows = parts(ready)
    training, final = len(rows.training), len(rows.final)
    listed = " → ".join(voice.pick(*TITLES[name]) for name in ready.settings.rungs)
    voice.say(listed, listed)
    voice.say(
        f"every rung learns from the same {training:,} rows and is measured on the same {final:,}",
        f"每一级都用同样的 {training:,} 行学习，用同样的 {final:,} 行评测",
    )


def carry_out(ready: Plan[Ladder], voice: Voice, world: World) -> None:
    """Climb, rung by rung; those that were reached before are not climbed again."""
    settings, run = ready.settings, ready.run
    climb = course(ready, voice)
    rows = []
    for name in sorted(settings.rungs, key=height):
        row = reached(climb, name, voice)
        rows.append(row)
        voice.say(told(row, voice), told(row, voice))
    said = {row["rung"]: answers(climb, row["rung"]) for row in rows}
    found = judgement(rows, said, settings.seed)
    replace_json(run.path / RECORD, found)
    take(at(climb, found["recommended"]), run)
    results = measured([METRIC], said[found["recommended"]], settings.seed)
    add_results(run.path, [row | {"data": climb.part, "unit": "rows"} for row in results])
    voice.say(*advice(found))
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)


def judgement(rows: Sequence[Data], said: dict[str, list[Prediction]], seed: int) -> Data:
    """The rungs, the best, and the cheapest that is not shown to be worse than it; each compared with the best, row by
    row."""
    best = max(rows, key=lambda row: row["value"])["rung"]
    told: list[Data] = []
    for row in rows:
        found = compared([METRIC], said[row["rung"]], said[best], seed)[METRIC.name]
        noise = row["rung"] == best or found.verdict != "better"
        behind: Any = {name: getattr(found.difference, name) for name in ("value", "low", "high")}
        told.append({**row, "behind": behind, "within_noise": noise})
    recommended = next(row["rung"] for row in told if row["within_noise"])
    return {"metric": METRIC.name, "rungs": told, "best": best, "recommended": recommended}


def take(folder: Path, run: Run) -> None:
    """What a folder holds becomes the run's own: its prompt, its vectors, its model."""
    if (folder / "model").is_dir():
        with new_folder(run.model) as place:
            shutil.copytree(folder / "model", place, dirs_exist_ok=True)
    for file in (PROMPT, VECTORS, FILE):
        if (folder / file).is_file():
            replace_file(run.path / file, (folder / file).read_bytes())


def told(row: Data, voice: Voice) -> str:
    """One rung in a line."""
    between = f" [{METRIC.write(row['low'])}, {METRIC.write(row['high'])}]" if "low" in row else ""
    trains = voice.pick(f"{row['trains']:,} trained", f"训练 {row['trains']:,} 个参数")
    return (
        f"{voice.pick(*TITLES[row['rung']]):<28} {METRIC.write(row['value'])}{between}  {trains}  "
        f"{clock(row['seconds'])}  {size_in_words(row['bytes'])}"
    )


def advice(found: Data) -> tuple[str, str]:
    """What to take, in both languages."""
    chosen, best = (TITLES[found[name]] for name in ("recommended", "best"))
    row = next(row for row in found["rungs"] if row["rung"] == found["recommended"])
    if chosen is best:
        return f"take: {chosen[0]}; nothing cheaper is as good", f"建议：{chosen[1]}；没有更便宜且同样好的"
    reach = METRIC.write(row["behind"]["high"])
    return (
        f"take: {chosen[0]}; {best[0]} is not shown to be better on these rows (by {reach} at most)",
        f"建议：{chosen[1]}；在这些数据上未能显示{best[1]}更好（差距至多 {reach}）",
    )
