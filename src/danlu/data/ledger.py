"""Where every input row went: each one ends in exactly one bucket, and the sums must match."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from danlu.errors import DanluError

BUCKETS: Mapping[str, tuple[str, str]] = {
    "trained": ("trained on whole", "全部用于训练"),
    "truncated": ("trained on, cut short", "截断后用于训练"),
    "divided": ("begun in training, ended in validation", "前部训练、后部验证"),
    "held_out": ("kept for validation", "留作验证"),
    "dropped": ("dropped", "丢弃"),
}

# Why a row is dropped; the sentence a person reads.
REASONS: Mapping[str, tuple[str, str]] = {
    "empty": ("no text in it", "没有文本"),
    "no tokens": ("the tokenizer makes nothing of it", "分词后没有词元"),
    "not JSON": ("the line is not JSON", "该行不是 JSON"),
    "not an object": ("the line is JSON but not an object {...}", "该行是 JSON，但不是对象 {...}"),
    "no column": ("the text column is missing or null", "缺少文本列，或其值为空"),
    "not text": ("the text column holds something else than text", "文本列的值不是文本"),
    "wrong fields": ("more or fewer fields than the header has", "字段数与表头不符"),
    "stray quote": ("a quotation mark inside a quoted field", "带引号的字段内有多余的引号"),
    "no label": ("the answer is missing", "缺少答案（标签）"),
    "not a label": ("the answer is of another kind than the task's", "答案的类型与任务不符"),
    "not a number": ("the answer is no finite number", "答案不是有限的数"),
    "unknown label": ("a label that no row to train on has", "训练数据中没有出现过的标签"),
    "tags and words differ": ("there are more or fewer tags than words", "标签数与词数不符"),
    "answer not in the text": ("the answer does not stand in the text", "文本中找不到该答案"),
    "no choices": ("there are not two choices, or one is empty", "选项不足两个，或有空选项"),
    "in the test": ("the same text stands in the test or validation rows", "相同文本已出现在测试或验证数据中"),
    "no caption": ("a picture without a caption", "图片没有说明文字"),
    "no picture": ("a caption without a picture", "说明文字没有对应的图片"),
    "not a picture": ("the file is no picture", "文件不是图片"),
    "too many pixels": ("a picture of more pixels than allowed", "图片像素数超过上限"),
    "damaged picture": ("the picture is damaged or cut off", "图片损坏或不完整"),
    "unreadable": ("it cannot be read out of its archive", "无法从归档中读出"),
    "one frame": ("a film of a single frame", "影片只有一帧"),
    "cut off": ("the archive breaks off here", "归档在此处中断"),
    "surrogate": ("half of a surrogate pair, which is not text", "含有不成对的代理码位，不是合法文本"),
    "one side": ("a translation without one of its sides", "译文对照缺少一侧"),
    "too short": ("fewer characters than wanted", "字符数少于要求"),
    "too long": ("more characters than wanted", "字符数多于要求"),
    "few letters": ("too few letters", "字母与汉字所占比例过低"),
    "many digits": ("too many digits", "数字所占比例过高"),
    "many symbols": ("too many symbols", "符号所占比例过高"),
    "another script": ("not in the script of its language", "文字与所属语言不符"),
    "repetitive": ("it repeats itself", "内容自我重复"),
    "duplicate": ("the same text as an earlier one", "与先前的文本相同"),
    "near duplicate": ("nearly the same text as an earlier one", "与先前的文本几乎相同"),
    "test text": ("it holds text that is kept for testing", "含有留作测试的文本"),
}
# Reasons that were asked for, in the order of their numbers on the disk.
JUDGED = (
    "too short", "too long", "few letters", "many digits", "many symbols", "another script", "repetitive", "duplicate",
    "near duplicate", "test text",
)  # fmt: skip
SIFTED = frozenset((*JUDGED, "empty"))  # they say nothing about the file being damaged
DETAILS = 1000  # places listed for one reason; the count goes on


class Dropped(NamedTuple):
    """One row that was left out, and why; `like`: file and line of the text it repeats."""

    reason: str
    file: str
    line: int
    like: str = ""


@dataclass
class Ledger:
    """Counts of rows. `truncated_by` counts the tokens that were cut off; `details` lists where dropped rows stood."""

    trained: int = 0
    truncated: int = 0
    divided: int = 0
    held_out: int = 0
    truncated_by: int = 0
    read: int | None = None  # counted where rows are read; without it the buckets are believed
    dropped: Counter[str] = field(default_factory=Counter)
    details: list[Dropped] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The sum of all buckets."""
        return self.trained + self.truncated + self.divided + self.held_out + self.dropped.total()

    def count(self) -> None:
        """A row was read."""
        self.read = (self.read or 0) + 1

    def drop(self, reason: str, file: str, line: int, like: str = "") -> None:
        self.dropped[reason] += 1
        if self.dropped[reason] <= DETAILS:
            self.details.append(Dropped(reason, file, line, like))

    def truncate(self, by: int) -> None:
        """A row that is trained on without its last `by` tokens."""
        self.truncated += 1
        self.truncated_by += by

    def check(self) -> "Ledger":
        """E1230 where a row was lost or counted twice."""
        counts = (self.trained, self.truncated, self.divided, self.held_out, *self.dropped.values())
        if min(counts) < 0 or (self.read is not None and self.read != self.rows):
            raise DanluError("E1230", found=self.rows, possible=self.read)
        return self

    def merged(self, other: "Ledger") -> "Ledger":
        """The rows of both."""
        both = Ledger(dropped=self.dropped + other.dropped, details=self.details + other.details)
        for name in ("trained", "truncated", "divided", "held_out", "truncated_by"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        both.read = None if self.read is None or other.read is None else self.read + other.read
        return both

    def copied(self) -> "Ledger":
        """The same counts, to be counted further."""
        return replace(self, dropped=self.dropped.copy(), details=list(self.details))

    def to_json(self) -> dict[str, Any]:
        """Plain data for ledger.json."""
        return {
            "read": self.rows if self.read is None else self.read,
            "trained": self.trained,
            "truncated": {"rows": self.truncated, "tokens": self.truncated_by},
            "divided": self.divided,
            "held_out": self.held_out,
            "dropped": dict(self.dropped),
            "details": [_plain(each) for each in self.details],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Ledger":
        return cls(
            trained=data["trained"], truncated=data["truncated"]["rows"], truncated_by=data["truncated"]["tokens"],
            divided=data["divided"], held_out=data["held_out"], read=data["read"], dropped=Counter(data["dropped"]),
            details=[Dropped(**each) for each in data["details"]],
        ).check()  # fmt: skip


def _plain(dropped: Dropped) -> dict[str, Any]:
    return {name: value for name, value in dropped._asdict().items() if name != "like" or value}
