"""`danlu prompt tune START DATA`: a model trained by a prompt, on few rows, and on rows without labels where there are
some."""

import torch
from pydantic import Field

from danlu.data.ledger import Ledger
from danlu.data.sources import Paths
from danlu.evaluate.judge import details, measured, wanted
from danlu.evaluate.predictions import FILE, write_predictions
from danlu.prompt.pseudo import TEMPERATURE, together
from danlu.prompt.spec import PromptSpec
from danlu.prompt.tuning import measured as looked_at
from danlu.prompt.tuning import shares_of
from danlu.recipes.evaluating.judging import say_results
from danlu.recipes.prompting.choosing import own, ranking
from danlu.recipes.prompting.planning import Plan, plan
from danlu.recipes.prompting.tuning import Course, Tuned, Tuning, course, kind_of, parts, taught
from danlu.recipes.runs.call import Answer, Call
from danlu.recipes.runs.folder import add_results
from danlu.recipes.runs.performing import perform
from danlu.recipes.runs.processes import refuse_several
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.tasks.metrics import METRICS
from danlu.tasks.reading import files, read
from danlu.tasks.settings import TaskData
from danlu.tasks.task import Row
from danlu.train.distributed import World
from danlu.voice import Voice


class Tune(Tuning):
    """`danlu prompt tune START DATA`.

    unlabelled: files of texts without labels: then `patterns` prompts are trained on the rows with labels, and a last
    one on what they say together of all the others (PET). temperature: by which their answers are made less sure.
    """

    verb: str = Field("prompt tune", pattern="^prompt tune$")
    unlabelled: Paths = ()
    patterns: int = Field(3, ge=1)
    temperature: float = Field(TEMPERATURE, gt=0)


def tune(call: Call) -> Answer:
    """The verb."""
    refuse_several("prompt tune", call)
    return perform(call, "prompt tune", lambda call: plan(call, Tune, "tune"), introduce, carry_out)


def introduce(ready: Plan[Tune], voice: Voice) -> None:
    count, what = len(parts(ready).training), kind_of(ready.settings.adapt)
    voice.say(f"{what} trained by a prompt on {count:,} rows", f"用提示训练（{what}），{count:,} 行")


def carry_out(ready: Plan[Tune], voice: Voice, world: World) -> None:
    """Train, once or by way of rows without labels; then measure on the rows that were kept."""
    settings, run, about = ready.settings, ready.run, course(ready, voice)
    given = own(about.inquiry)
    ranked = [each.spec for each in ranking(about.inquiry)[0]] if given is None or settings.unlabelled else []
    specs = ([given] if given else []) + ranked
    voice.say(f"prompt: {specs[0].lines[0]}", f"提示：{specs[0].lines[0]}")
    about.inquiry.note("train", "train", about.training, labels=True)
    about.inquiry.note("validation", "choose", about.validation, labels=True)
    if settings.unlabelled:
        tuned = from_unlabelled(about, settings, specs[: settings.patterns], unlabelled_rows(ready), voice)
    else:
        tuned = taught(
            settings, settings.adapt, specs[0], about.training, about.validation, run.path, voice, about.advice
        )
    about.inquiry.note(about.part, "measure", about.final, labels=True)
    said = list(tuned.prompter.predict(about.final, voice))
    write_predictions(run.path / FILE, said)
    metrics = wanted("classify", ready.made.task.metrics, said)
    rows = [row | {"data": about.part, "unit": "rows"} for row in measured(metrics, said, settings.seed)]
    more = details("classify", said, METRICS["accuracy"], (), settings.seed) | {
        "task": "classify",
        "metric": "accuracy",
    }
    add_results(run.path, rows, {"answers": {about.part: more}})
    if not voice.quiet:
        say_results(rows, voice)
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)


def from_unlabelled(
    about: Course, settings: Tune, specs: list[PromptSpec], rows: list[Row], voice: Voice
) -> Tuned:  # fmt: skip
    """Each prompt trained on the rows with labels, trusted as far as it is right on the rows to choose by; then the
    first one trained anew on what all of them say of the rows without."""
    answers, trust = [], []
    for number, spec in enumerate(specs):
        folder = about.folder / "patterns" / str(number)
        each = taught(settings, settings.adapt, spec, about.training, about.validation, folder, voice.silenced(),
                      about.advice)  # fmt: skip
        scorer, asked, learned = each.prompter.scorer, each.prompter.spec, each.prompter.learned or {}
        trust.append(looked_at(scorer, asked, about.validation or about.training, learned)["accuracy"])
        answers.append(scorer.scores(asked, rows, learned))
        voice.say(
            f"pattern {number}: {trust[-1]:.1%}  {spec.lines[0]}", f"模板 {number}：{trust[-1]:.1%}  {spec.lines[0]}"
        )
    shares = together(answers, trust, settings.temperature)
    shares = torch.cat([shares_of(specs[0], about.training), shares])
    voice.say(f"{len(rows):,} rows labelled by {len(specs)} models", f"{len(specs)} 个模型为 {len(rows):,} 行标注")
    return taught(settings, settings.adapt, specs[0], [*about.training, *rows], about.validation,
                  about.folder, voice, about.advice, shares)  # fmt: skip


def unlabelled_rows(ready: Plan[Tune]) -> list[Row]:
    """Rows of the files without labels, by the columns of those with labels. E1203 … of files."""
    settings, columns = ready.settings, ready.made.columns
    given = TaskData(paths=settings.unlabelled, format="auto", encoding=settings.data.encoding)
    table = read(files(given)["train"], given, Ledger(read=0))
    wanted_columns = {role: name for role, name in columns.items() if role != "label"}
    return [
        Row({role: str(record.values[name]) for role, name in wanted_columns.items()}, file, record.line)
        for record, file in table.records
        if all(record.values.get(name) not in (None, "") for name in wanted_columns.values())
    ]
