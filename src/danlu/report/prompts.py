"""How a prompt was found: what rules made, how it was ranked, chosen and varied, and how much of its score is luck."""

from collections.abc import Mapping, Sequence
from typing import Any

from danlu.report.html import Html, Section, element, fold, join, panel, table
from danlu.report.plots import Bar, bars
from danlu.report.record import Record, is_number
from danlu.voice import Voice

IN_SIGHT = 8  # prompts of a table


def prompts_section(record: Record, voice: Voice) -> Section | None:
    """The prompt, its words, the ones it was chosen from, and what depends on nothing but chance."""
    found = record.prompts
    if not isinstance(chosen := found.get("chosen"), dict):
        return None
    parts = [_prompt(chosen, voice), _worth(found, voice), _spread(found, voice), _ranked(found, voice)]
    made, looked, read = found.get("made", 0), found.get("candidates", 0), found.get("tokens", 0)
    note = voice.pick(
        f"{made} prompts made by rules, ranked without labels; {looked} looked at with labels; {read:,} tokens read. "
        "The rows to test on were read last: looks.jsonl has every look, in order.",
        f"规则生成 {made} 个提示，先不用标签排序；用标签比较了 {looked} 个；模型共读 {read:,} 个词元。"
        "测试行最后才读取：looks.jsonl 按顺序记录了每次查看。",
    )
    return Section("prompt", voice.pick("The prompt", "提示"), join(part for part in parts if part), note)


def _prompt(chosen: Mapping[str, Any], voice: Voice) -> Html:
    words = [[name, " · ".join(map(_phrase, phrases))] for name, phrases in (chosen.get("words") or {}).items()]
    rules = ", ".join(map(str, chosen.get("made_by") or []))
    said = voice.pick(f"made by {rules}; calibration: {chosen.get('calibration')}",
                      f"由以下规则生成：{rules}；校准：{chosen.get('calibration')}")  # fmt: skip
    lines = element("pre", "\n".join(map(str, chosen.get("lines") or [])))
    head = [voice.pick("class", "类别"), voice.pick("words that stand for it", "代表它的词")]
    return panel(lines, element("p", said, class_="under"), table(head, words))


def _worth(found: Mapping[str, Any], voice: Voice) -> Html | None:
    """The score it was chosen for beside what it is expected to be worth on other rows."""
    expected, hand = found.get("expected"), found.get("hand")
    if not isinstance(expected, dict) or not isinstance(hand, dict) or not is_number(found.get("value")):
        return None
    made = [
        Bar(voice.pick("the prompt it began from", "起始提示"), hand["value"]),
        Bar(voice.pick("the best of all, as it was chosen", "最好的提示，选定时"), found["value"]),
        Bar(voice.pick("expected on other rows", "在其他数据上的预期"), expected["value"], expected.get("low"),
            expected.get("high")),
    ]  # fmt: skip
    words = voice.pick(
        "The one who is chosen for his score is overrated by it. Where no other is expected to be better, the prompt "
        "it began from is kept.",
        "凭分数选出的提示会被高估。若预计没有更好的，就保留起始提示。",
    )
    kept = voice.pick("Here it was kept.", "这里保留了起始提示。") if found.get("kept_hand") else ""
    title = element("h3", voice.pick("what the choice is worth", "这一选择值多少"))
    return panel(title, bars(made, high=1.0, form="{:.1%}"), element("p", f"{words} {kept}", class_="under"))


def _spread(found: Mapping[str, Any], voice: Voice) -> Html | None:
    """Mean, spread, worst and best over seeds × templates × orders."""
    spread, varied = found.get("spread"), found.get("variations")
    if not isinstance(spread, dict) or not isinstance(varied, list):
        return None
    head = [voice.pick(*pair) for pair in (
        ("mean", "平均"), ("standard deviation", "标准差"), ("worst", "最差"), ("best", "最好"),
        ("by seed", "随种子"), ("by words", "随措辞"), ("by order", "随顺序"),
    )]  # fmt: skip
    by = spread.get("by") or {}
    values = [spread.get(name) for name in ("mean", "std", "worst", "best")]
    cells = [_share(value) for value in (*values, by.get("seed"), by.get("template"), by.get("order"))]
    rows = [[str(each["seed"]), str(each["template"]), str(each["order"]), _share(each["value"])] for each in varied]
    names = [
        voice.pick(*pair)
        for pair in (("seed", "种子"), ("template", "模板"), ("order", "顺序"), ("accuracy", "准确率"))
    ]
    title = element("h3", voice.pick("what nobody chose", "无人选择的变化"))
    words = voice.pick(
        f"{len(varied)} prompts that could as well have been used, on the same {found.get('varied_rows')} rows. By "
        "seed, words, order: the standard deviation of the means of each.",
        f"{len(varied)} 个同样可能被采用的提示，在相同的 {found.get('varied_rows')} 行上。"
        "随种子、措辞、顺序：各自均值的标准差。",
    )
    each = fold(voice.pick("each of them", "逐一列出"), table(names, rows, numeric=(3,)))
    return panel(title, table(head, [cells], numeric=range(7)), element("p", words, class_="under"), each)


def _ranked(found: Mapping[str, Any], voice: Voice) -> Html | None:
    listed: Sequence[Mapping[str, Any]] = found.get("ranked") or []
    if not listed:
        return None
    head = [voice.pick(*pair) for pair in (("template", "模板"), ("made by", "规则"), ("agreement", "一致度"))]
    rows = [
        [" ‖ ".join(map(str, each["lines"][:2])) + (" …" if len(each["lines"]) > 2 else ""),
         ", ".join(rule for rule in each["made_by"] if not str(rule).startswith(("kind:", "language:"))),
         f"{each['value']:.3f}"]
        for each in listed
    ]  # fmt: skip
    more = [fold(voice.pick(f"{len(rows) - IN_SIGHT} more", f"另外 {len(rows) - IN_SIGHT} 个"),
                 table(head, rows[IN_SIGHT:], numeric=(2,)))] if len(rows) > IN_SIGHT else []  # fmt: skip
    title = element("h3", voice.pick("made by rules, ranked without labels", "规则生成、无标签排序"))
    return panel(title, table(head, rows[:IN_SIGHT], numeric=(2,)), *more)


def _phrase(phrase: Any) -> str:
    return " … ".join(map(str, phrase)) if isinstance(phrase, (list, tuple)) else str(phrase)


def _share(value: Any) -> str:
    return f"{value:.1%}" if is_number(value) else "—"
