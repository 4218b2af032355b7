"""What a person and a report are told of a search for a prompt, and what is written of it."""

from collections.abc import Sequence

from danlu.errors import DanluError
from danlu.prompt.prompter import Prompter
from danlu.prompt.rules.brief import Brief
from danlu.prompt.rules.ranking import Ranked
from danlu.prompt.scorer import Scorer
from danlu.prompt.search.ground import Candidate
from danlu.prompt.search.harness import Found
from danlu.prompt.spec import PromptSpec
from danlu.prompt.tuning import VECTORS, write_vectors
from danlu.recipes.runs.folder import PROMPT, Run
from danlu.settings import Data
from danlu.voice import Voice

SHOWN = 20  # prompts of the report's table
KINDS = {
    "masked": ("fills masks", "填空"), "causal": ("writes on", "续写"),
    "sequence_to_sequence": ("reads, then writes", "先读后写"), "dual": ("compares texts", "比较文本"),
    "pictures": ("compares pictures and texts", "比较图文"),
}  # fmt: skip


def say_brief(brief: Brief, scorer: Scorer, voice: Voice) -> None:
    """What the rules found out of the task."""
    en, zh = KINDS[scorer.kind]
    voice.say(
        f"kind of task: {brief.kind}; language: {brief.language}; the model {en}",
        f"任务类型：{brief.kind}；语言：{brief.language}；模型方式：{zh}",
    )
    if all(meaning.strip("-").isdigit() for meaning in brief.labels.values()) and brief.kind == "any":
        name = next(iter(brief.labels))
        voice.say(
            f"the labels are numbers and say nothing; tell what they mean, for example labels.{name}=negative",
            f"标签只是数字，没有含义；请说明，例如 labels.{name}=负面",
        )


def say_found(found: Found[Candidate], limit: int, voice: Voice) -> None:
    """Who won, by how much, and how much of it is luck."""
    expected = found.expected
    voice.say(
        f"{found.candidates} prompts looked at with labels: the best has {found.value:.1%} on the rows to choose by, "
        f"of which {found.optimism:.1%} is expected to be luck; the one it began from has {found.hand:.1%}",
        f"用标签比较了 {found.candidates} 个提示：最好的在选择用的行上为 {found.value:.1%}，其中预计有 "
        f"{found.optimism:.1%} 是运气；起始提示为 {found.hand:.1%}",
    )
    if found.kept_hand:
        voice.say(
            f"no other is expected to be better on other rows ({expected.value:.1%}), so that one is kept",
            f"预计没有别的提示在其他数据上更好（{expected.value:.1%}），因此保留起始提示",
        )
    for line in found.best.spec.lines[:3]:
        voice.say(f"  {line!r}", f"  {line!r}")


def told(
    listed: Sequence[Ranked], unfit: Sequence[tuple[PromptSpec, DanluError]], found: Found[Candidate], hand: PromptSpec
) -> Data:  # fmt: skip
    """prompts.json: what was made, how it was ranked and chosen."""
    return {
        "ranked": [
            {"lines": each.spec.lines, "made_by": each.spec.made_by, "value": each.value} for each in listed[:SHOWN]
        ],
        "made": len(listed) + len(unfit),
        "unfit": [{"lines": spec.lines, "error": error.code} for spec, error in unfit[:SHOWN]],
        "chosen": {"lines": found.best.spec.lines, "made_by": found.best.spec.made_by,
                   "calibration": found.best.spec.calibration, "words": found.best.spec.verbaliser.words},
        "hand": {"lines": hand.lines, "made_by": hand.made_by, "value": found.hand},
        "value": found.value, "expected": found.expected.plain(), "optimism": found.optimism,
        "kept_hand": found.kept_hand, "candidates": found.candidates, "looks": found.looks,
    }  # fmt: skip


def write(run: Run, prompter: Prompter) -> None:
    """prompt.json, and its soft vectors beside it."""
    prompter.spec.write(run.path / PROMPT)
    if prompter.learned:
        write_vectors(run.path / VECTORS, prompter.learned)
