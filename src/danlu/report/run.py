"""The report of a run: report.html, from whatever the run folder holds."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from danlu.data.builtin import BUILTIN, PREFIX
from danlu.errors import Language
from danlu.files import replace_file
from danlu.report.answers import answers_section, comparisons_section
from danlu.report.compression import compression_section
from danlu.report.course import curves_section, events_section, timings_section
from danlu.report.html import Section, element, fold, page, panel
from danlu.report.ladder import ladder_section
from danlu.report.pictures import pictures_section
from danlu.report.prompts import prompts_section
from danlu.report.quality import quality_section
from danlu.report.record import Record, read_record
from danlu.report.rows import ledger_section
from danlu.report.samples import samples_section
from danlu.report.summary import summary_section
from danlu.report.trials import search_section, seeds_section
from danlu.settings import to_yaml
from danlu.voice import Voice

CORRUPTIONS = {
    "shift": ("taught to go on with a text", "学习续写文本"),
    "mask": ("taught to fill masks", "学习填补掩码"),
    "plain": ("taught about pairs of texts", "学习判断文本对"),
    "prefix": ("taught to go on from a beginning", "学习从给定开头续写"),
    "middle": ("taught to fill in the middle", "学习补写中段"),
    "spans": ("taught to write what sentinels stand for", "学习写出哨兵所代表的片段"),
    "infill": ("taught to repair damaged text", "学习修复受损文本"),
    "mixture": ("taught by a mixture of denoisers", "以多种去噪方式学习"),
    "translation": ("taught to fill masks with a translation beside", "学习借助译文填补掩码"),
}


def write_report(folder: Path, language: Language) -> Path:
    """Write report.html into a run folder and return its path. E1801 where the folder holds no run."""
    path = folder / "report.html"
    replace_file(path, run_report(read_record(folder), Voice(language)))
    return path


def run_report(record: Record, voice: Voice) -> str:
    """The page of one run."""
    sections = [section for make in SECTIONS if (section := make(record, voice))]
    kind = voice.pick("a run of danlu", "丹炉的一次运行")
    return page(record.name, sections, voice, lead=lead(record, voice), kind=kind)


def lead(record: Record, voice: Voice) -> str:
    """What was trained, how, and on what, in one line."""
    start = record.config.get("start") or record.danlu.get("family")
    taught = record.section("corruption").get("kind")
    data = record.section("data")
    paths = data.get("paths") or list(data.get("sources") or data.get("parallel") or {})
    names = [known_as(str(path)) for path in (paths if isinstance(paths, list) else [paths] if paths else [])]
    words = [str(start) if start else "", voice.pick(*CORRUPTIONS[taught]) if taught in CORRUPTIONS else ""]
    return " · ".join(word for word in [*words, ", ".join(names[:4])] if word)


def known_as(path: str) -> str:
    """A file's name; built-in text by the word it was asked for."""
    found = re.fullmatch(r"(\w+)-[0-9a-f]{8}\.jsonl", Path(path).name)
    return f"{PREFIX}{found[1]}" if found and found[1] in BUILTIN else Path(path).name


def repeat(record: Record) -> str:
    """The command that does the same run again."""
    where = record.config.get("output") or record.name
    return f"danlu {record.config.get('verb', 'pretrain')} {where}/config.yaml"


def settings_section(record: Record, voice: Voice) -> Section | None:
    if not record.config:
        return None
    parts = [
        element("p", voice.pick("Repeat this run:", "重复本次运行：")),
        element("code", repeat(record), class_="command"),
        fold(voice.pick("all settings", "全部设置"), element("pre", to_yaml(record.config))),
    ]
    if record.danlu:
        parts.append(fold(voice.pick("the model's lineage", "模型来历"), element("pre", to_yaml(record.danlu))))
    return Section("settings", voice.pick("Settings", "设置"), panel(*parts))


SECTIONS: Sequence[Callable[[Record, Voice], Section | None]] = (
    summary_section, compression_section, curves_section, quality_section, prompts_section, ladder_section,
    seeds_section, search_section, comparisons_section,
    answers_section, pictures_section, samples_section, ledger_section, events_section, timings_section,
    settings_section,
)  # fmt: skip
