"""Pictures in a report: what they find, how alike they are to each other's texts, the worst mistakes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from danlu.report.html import Html, Section, element, join, page, panel, table, tiles
from danlu.report.record import Record
from danlu.voice import Voice

CELL = 100  # per cent of colour at the largest cosine


class Shown(NamedTuple):
    """A picture as the model is given it (`picture`) and as it is kept (`source`), both PNG in base64."""

    picture: str
    source: str
    caption: str
    tokens: Sequence[str]
    where: str


def pictures_section(record: Record, voice: Voice) -> Section | None:
    """What evaluation.json holds of pictures; None without any."""
    found = record.evaluation.get("pictures")
    if not isinstance(found, dict):
        return None
    parts = [
        _asked(found.get("asked") or [], voice),
        _samples(found.get("samples") or [], voice),
        _matrix(found.get("matrix") or {}, voice),
        _mistakes(found.get("mistakes") or [], voice),
        _confusions(found.get("confusions") or [], voice),
    ]
    note = voice.pick(
        "Pictures and texts that were not trained on. Cosines lie between −1 and 1; the diagonal should be darkest.",
        "未参与训练的图片与文本。余弦值介于 −1 与 1 之间；对角线应最深。",
    )
    return Section("pictures", voice.pick("Pictures", "图片"), join(part for part in parts if part), note)


def pictures_page(found: Sequence[Shown], counts: Mapping[str, int], voice: Voice) -> str:
    """A whole page for `danlu data inspect`."""
    words = {"pictures": "图片", "captions": "说明", "held out": "留作验证", "dropped": "略去", "films": "影片",
             "questions": "问题"}  # fmt: skip
    facts = [(voice.pick(name, words.get(name, name)), f"{count:,}", None) for name, count in counts.items()]
    cards = [
        element(
            "figure", _picture(each.source), _picture(each.picture),
            element(
                "figcaption", each.caption, element("small", " · ".join(each.tokens)), element("small", each.where)
            ),
        )
        for each in found
    ]  # fmt: skip
    sections = [
        Section("counts", voice.pick("Counts", "统计"), tiles(facts)),
        Section(
            "rows", voice.pick("Pairs", "图文对"), element("div", *cards, class_="pictures"),
            voice.pick("Left: as it is kept. Right: the numbers the model is given. Below: caption and tokens.",
                       "左：缓存的图片；右：送入模型的数值；下方：说明及其词元。"),
        ),
    ]  # fmt: skip
    title = voice.pick("What the model will see", "模型将看到的内容")
    return page(title, sections, voice, kind=voice.pick("inspection of data", "数据检视"))


def _picture(encoded: str) -> Html:
    return element("img", src=f"data:image/png;base64,{encoded}", alt="")


def _asked(rows: Sequence[Mapping[str, Any]], voice: Voice) -> Html | None:
    """Pictures with a question and what was answered; a wrong answer with the right one."""
    if not rows:
        return None
    cards = []
    for row in rows:
        right = row["said"] == row["right"]
        said = element("b", row["said"] or "—", class_="good" if right else "bad")
        rest = [] if right else [element("small", voice.pick(f"right: {row['right']}", f"正确：{row['right']}"))]
        told = element("figcaption", row["question"], " ", said, *rest)
        cards.append(element("figure", _picture(row["picture"]), told))
    title = element("h3", voice.pick("asked and answered, mistakes first", "问与答，错误在前"))
    return panel(title, element("div", *cards, class_="pictures"))


def _samples(rows: Sequence[Mapping[str, Any]], voice: Voice) -> Html | None:
    if not rows:
        return None
    cards = []
    for row in rows:
        found = [element("li", element("b", text) if text == row["caption"] else text) for text in row["found"]]
        cards.append(
            element("figure", _picture(row["picture"]), element("figcaption", row["caption"], element("ol", *found)))
        )
    title = element("h3", voice.pick("the texts a picture finds first", "每张图片最先找到的文本"))
    return panel(title, element("div", *cards, class_="pictures"))


def _matrix(found: Mapping[str, Any], voice: Voice) -> Html | None:
    cosines = found.get("cosines") or []
    if not cosines:
        return None
    low, high = min(map(min, cosines)), max(map(max, cosines))
    captions = found["captions"]
    rows = []
    for picture, row in zip(found["pictures"], cosines, strict=True):
        cells = [
            element("td", "", title=f"{text}: {cosine:.2f}", style=f"background:{_shade(cosine, low, high)}")
            for text, cosine in zip(captions, row, strict=True)
        ]
        rows.append(element("tr", element("th", _picture(picture)), *cells))
    title = element("h3", voice.pick("similarities: pictures down, their texts across", "相似度：纵为图片，横为文本"))
    listed = element("ol", *(element("li", text) for text in captions), class_="columns")
    grid = element("table", element("tbody", *rows), class_="matrix")
    return panel(title, element("div", grid, class_="scroll"), listed)


def _shade(cosine: float, low: float, high: float) -> str:
    share = (cosine - low) / max(1e-6, high - low)
    return f"color-mix(in srgb, var(--c1) {round(CELL * share)}%, transparent)"


def _mistakes(rows: Sequence[Mapping[str, Any]], voice: Voice) -> Html | None:
    if not rows:
        return None
    title = element("h3", voice.pick("the surest mistakes", "最有把握的错误"))
    head = ["", *(voice.pick(*words) for words in (("it is", "实为"), ("taken for", "误认为"), ("cosines", "余弦值")))]
    cells = [
        [_picture(row["picture"]), row["caption"], row["taken"], f"{row['cosine']:.2f} < {row['other']:.2f}"]
        for row in rows
    ]
    return panel(title, table(head, cells, numeric=(3,)))


def _confusions(rows: Sequence[Sequence[Any]], voice: Voice) -> Html | None:
    if not rows:
        return None
    title = element("h3", voice.pick("classes confused most often", "最常混淆的类别"))
    head = [voice.pick(*words) for words in (("it is", "实为"), ("taken for", "误认为"), ("times", "次数"))]
    return panel(title, table(head, rows, numeric=(2,)))
