"""What a prompt is worth: on rows that nobody looked at before, and against the prompts that were there before it."""

from collections.abc import Sequence

from danlu.errors import DanluError
from danlu.evaluate.judge import compared, details, measured, wanted
from danlu.evaluate.predictions import FILE, Prediction, write_predictions
from danlu.prompt.honest import spread, variations
from danlu.prompt.prompter import Prompter
from danlu.prompt.scorer import Learned
from danlu.prompt.search.ground import UNFIT, few
from danlu.prompt.spec import PromptSpec, distinct
from danlu.recipes.evaluating.judging import plain_comparison, say_results
from danlu.recipes.prompting.choosing import Inquiry
from danlu.recipes.runs.folder import Run, add_comparisons, add_results
from danlu.settings import Data
from danlu.tasks.metrics import find_metrics
from danlu.tasks.task import Row
from danlu.tasks.understanding import CLASSIFY
from danlu.voice import Voice


def judged(predictions: Sequence[Prediction], part: str) -> tuple[list[Data], Data]:
    """Measures with intervals, and where it goes wrong."""
    metrics = wanted("classify", CLASSIFY.metrics, predictions)
    rows = [row | {"data": part, "unit": "rows"} for row in measured(metrics, predictions)]
    return rows, details("classify", predictions, metrics[0]) | {"task": "classify", "metric": metrics[0].name}


def measure(
    run: Run, prompter: Prompter, hand: PromptSpec, bare: PromptSpec, rows: Sequence[Row], part: str, voice: Voice
) -> None:  # fmt: skip
    """Into the run: results, predictions, and how it compares with the prompt it began from, and with bare names."""
    predictions = list(prompter.predict(rows, voice))
    results, where = judged(predictions, part)
    add_results(run.path, results, {"answers": {part: where}})
    write_predictions(run.path / FILE, predictions)
    say_results(results, voice)
    others = {
        voice.pick("the prompt it began from", "起始提示"): hand,
        voice.pick("the bare names of the classes", "只用类别名"): bare,
    }
    for name, spec in others.items():
        if spec != prompter.spec:
            try:
                theirs = list(Prompter(prompter.scorer, spec).predict(rows, voice.silenced()))
            except DanluError as error:
                if error.code not in UNFIT:
                    raise
                continue  # this model cannot be asked in that way, so there is nothing to compare with
            found = compared(find_metrics(["accuracy"], "classify"), theirs, predictions)
            about = {"data": part, "against": name}
            add_comparisons(run.path, [{"name": key} | about | plain_comparison(each) for key, each in found.items()])


def spread_of(inquiry: Inquiry, specs: Sequence[PromptSpec], learned: Learned | None) -> Data:
    """Seeds × templates × orders on some of the rows to choose by; nothing where that is not wanted."""
    count, settings = inquiry.settings.variations, inquiry.settings
    usable = [spec for spec in distinct(specs) if not spec.soft]
    if not count or not usable:
        return {}
    rows = few(inquiry.validation, max(1, count // len(specs[0].classes)), settings.seed)
    inquiry.note("validation", "vary", rows, labels=True)
    found = list(variations(inquiry.scorer, usable, inquiry.training, rows, settings.shots))
    whole = spread(found)
    inquiry.voice.say(
        f"over {len(found)} variations of seed, words and order: mean {whole.mean:.1%}, spread {whole.std:.1%}, worst "
        f"{whole.worst:.1%}, best {whole.best:.1%} (on {len(rows)} rows, as many of each class)",
        f"种子、措辞与顺序共 {len(found)} 种变化：平均 {whole.mean:.1%}，标准差 {whole.std:.1%}，最差 "
        f"{whole.worst:.1%}，最好 {whole.best:.1%}（{len(rows)} 行，各类数量相同）",
    )
    return {"variations": [each._asdict() for each in found], "spread": whole._asdict(), "varied_rows": len(rows)}
