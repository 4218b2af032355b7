"""One self-contained HTML page: no script, no network, light and dark, for a desk and a phone, in English or Chinese.

Markup is made by `element`, which escapes every text that is not `Html` already; so nothing a run contains (samples,
file names, settings) can become markup. The page's own policy forbids every load from anywhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files

from danlu.voice import Voice

Child = object  # Html stays as it is, None vanishes, anything else is escaped as text
VOID = frozenset({"meta", "path", "img"})
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A titled part of a page; `name` is its anchor."""

    name: str
    title: str
    body: Html
    note: str = ""


def element(tag: str, *children: Child, **attributes: object) -> Html:
    """`element("p", "a < b", class_="note")` -> `<p class="note">a &lt; b</p>`; an attribute of None is left out."""
    pairs = (
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    start = f"<{tag}{''.join(pairs)}"
    return Html(f"{start}/>" if tag in VOID else f"{start}>{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Html:
    """Children one after the other, escaped where they are not markup."""
    texts = (child if isinstance(child, Html) else escape(str(child)) for child in children if child is not None)
    return Html("".join(texts))


def table(head: Sequence[Child], rows: Iterable[Sequence[Child]], numeric: Sequence[int] = ()) -> Html:
    """A table that scrolls sideways on a small screen; columns in `numeric` are set to the right."""

    def row(kind: str, cells: Sequence[Child]) -> Html:
        return element(
            "tr", *(element(kind, cell, class_="n" if at in numeric else None) for at, cell in enumerate(cells))
        )

    body = element("tbody", *(row("td", cells) for cells in rows))
    return element("div", element("table", element("thead", row("th", head)), body), class_="scroll")


def tiles(facts: Iterable[tuple[str, Child, Child]]) -> Html:
    """Large figures: (what, value, small print)."""
    return element(
        "dl",
        *(
            element("div", element("dt", what), element("dd", value), element("dd", small, class_="small"))
            for what, value, small in facts
        ),
        class_="tiles",
    )


def panel(*children: Child) -> Html:
    """A framed part of a section."""
    return element("div", *children, class_="panel")


def fold(summary: Child, body: Html, open_: bool = False) -> Html:
    """A part the reader opens."""
    return element("details", element("summary", summary), body, **({"open": "open"} if open_ else {}))


def page(title: str, sections: Sequence[Section], voice: Voice, lead: Child = None, kind: str = "") -> str:
    """A whole HTML document. `kind` stands above the title, `lead` below it."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", title),
        element("style", Html(style())),
    )
    contents = [element("a", section.title, href=f"#{section.name}") for section in sections]
    body = element(
        "body",
        element(
            "header",
            element("p", element("span", "丹", class_="seal"), kind or "danlu", class_="kind"),
            element("h1", title),
            element("p", lead, class_="lead") if lead else None,
        ),
        element("nav", *contents) if len(contents) > 2 else None,
        element("main", *map(_section, sections)),
        element(
            "footer",
            voice.pick(
                "Made by danlu. One file, nothing loaded from anywhere.", "由丹炉生成。单个文件，不加载任何外部内容。"
            ),
        ),
    )
    return f"<!doctype html>\n{element('html', head, body, lang=voice.pick('en', 'zh-CN'))}\n"


def _section(section: Section) -> Html:
    note = element("p", section.note, class_="note") if section.note else None
    return element("section", element("h2", section.title), note, section.body, id=section.name)


@cache
def style() -> str:
    """The one style sheet of every page."""
    return files("danlu.report").joinpath("style.css").read_text(encoding="utf8")
