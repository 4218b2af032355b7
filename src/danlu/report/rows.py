"""Where every row of data went, for people: ledger.json as a bar and tables."""

from collections.abc import Sequence

from danlu.data.ledger import BUCKETS, REASONS
from danlu.report.html import Html, Section, fold, panel, table
from danlu.report.plots import shares
from danlu.report.record import Record, Row, is_number
from danlu.settings import Data
from danlu.voice import Voice

MAX_ROWS = 200  # listed in the page; the file holds all


def ledger_section(record: Record, voice: Voice) -> Section | None:
    counts = bucket_counts(record.ledger)
    if not counts:
        return None
    named = [(voice.pick(*BUCKETS[name]), count) for name, count in counts.items()]
    head = [voice.pick("bucket", "去向"), voice.pick("rows", "行数")]
    parts: list[Html] = [shares(named), table(head, [[name, f"{count:,}"] for name, count in named], numeric=(1,))]
    places = [row for row in record.ledger.get("details") or [] if isinstance(row, dict)]
    if places:
        columns = [voice.pick("reason", "原因"), voice.pick("file", "文件"), voice.pick("line", "行")]
        rows = [[_reason(row, voice), row.get("file", ""), row.get("line", "")] for row in places[:MAX_ROWS]]
        if any(row.get("like") for row in places[:MAX_ROWS]):
            columns.append(voice.pick("like", "相同处"))
            rows = [[*cells, row.get("like", "")] for cells, row in zip(rows, places, strict=False)]
        parts.append(
            fold(voice.pick("dropped rows, one by one", "逐行列出被丢弃的行"), table(columns, rows, numeric=(2,)))
        )
    if drawn := [row for row in record.ledger.get("sources") or [] if isinstance(row, dict)]:
        parts.append(_sources(drawn, voice))
    note = voice.pick("Each row that was read ends in exactly one of these.", "读入的每一行恰好归入其中一类。")
    return Section("ledger", voice.pick("Every row of data", "每一行数据的去向"), panel(*parts), note)


def _sources(rows: Sequence[Row], voice: Voice) -> Html:
    """How much of each source was trained on, and how often."""
    turns = any(row.get("turn") for row in rows)
    head = [voice.pick("source", "数据源"), voice.pick("languages", "语言"), voice.pick("tokens seen", "所见词元"),
            voice.pick("share", "占比"), voice.pick("times through it", "通读遍数")]  # fmt: skip
    head = ([voice.pick("objective", "目标")] if turns else []) + head
    cells = [
        ([row.get("turn", "")] if turns else [])
        + [row.get("name") or voice.pick("all data", "全部数据"), ", ".join(row.get("languages") or []),
           f"{row.get('tokens', 0):,}", f"{row.get('share', 0):.1%}", f"{row.get('epochs', 0):.2f}"]
        for row in rows
    ]  # fmt: skip
    return table(head, cells, numeric=tuple(range(len(head) - 3, len(head))))


def bucket_counts(ledger: Data) -> dict[str, int]:
    """Rows by bucket, from ledger.json; buckets that are empty left out."""
    counts = {}
    for name in BUCKETS:
        held = ledger.get(name)
        if isinstance(held, dict):  # truncated: rows and tokens; dropped: rows by reason
            held = held["rows"] if "rows" in held else sum(count for count in held.values() if is_number(count))
        if is_number(held) and held:
            counts[name] = int(held)
    return counts


def _reason(row: Row, voice: Voice) -> str:
    reason = str(row.get("reason", ""))
    return voice.pick(*REASONS[reason]) if reason in REASONS else reason
