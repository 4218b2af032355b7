"""The model card of a run: README.md with the front matter that model hubs read, and how to repeat the run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from danlu.errors import Language
from danlu.files import replace_file
from danlu.report.compression import compression_tables
from danlu.report.mistakes import tables
from danlu.report.quality import count_text, data_name, interval_text, measure_name, measured_rows, value_text
from danlu.report.record import Record, is_number, read_record
from danlu.report.rows import bucket_counts
from danlu.report.run import known_as, repeat
from danlu.settings import Data, to_yaml
from danlu.voice import Voice, clock

# What a published architecture's ending says about its use: (ending, pipeline_tag).
PIPELINES = (
    ("ForMaskedLM", "fill-mask"),
    ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("ForConditionalGeneration", "text2text-generation"),
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMultipleChoice", "multiple-choice"),
)
# How the model is tried from Python, by what it is for.
TRY = {
    "fill-mask": 'model.fill("Paris is the [MASK] of France.")',
    "text-generation": 'model.generate("Once upon a time", max_new_tokens=40)',
    "text2text-generation": 'model.generate("…", max_new_tokens=40)',
    "text-classification": 'model.classify("…").value',
    "token-classification": 'model.tag("…")',
    "question-answering": 'model.find("…?", "…").value',
    "multiple-choice": 'model.choose("…", ["…", "…"]).value',
}
PROOFS = {
    "parity": ("parity with transformers", "与 transformers 一致"),
    "resume": ("resumes to the same bits", "恢复训练逐比特一致"),
}


def write_card(folder: Path, language: Language) -> Path:
    """Write README.md into a run folder and return its path. E1801 where the folder holds no run."""
    path = folder / "README.md"
    replace_file(path, card(read_record(folder), Voice(language)))
    return path


def card(record: Record, voice: Voice) -> str:
    """The model card as Markdown."""
    parts = [_front_matter(record), f"# {_text(record.name)}", _about(record, voice)]
    parts += [_part(voice.pick("Quality", "质量"), _quality(record, voice))]
    every = [*compression_tables(record, voice), *tables(record, voice)]
    parts += [_part(title, _table(head, rows)) for title, head, rows in every]
    parts += [_part(voice.pick("Training", "训练"), _training(record, voice))]
    parts += [_part(voice.pick("Data and lineage", "数据与来历"), _lineage(record))]
    parts += [_part(voice.pick("Proofs", "验证"), _proofs(record, voice))]
    parts += [_part(voice.pick("Use", "使用"), _use(record))]
    parts += [_part(voice.pick("Repeat", "重复"), _code("sh", repeat(record)) if record.config else "")]
    return "\n\n".join(part for part in parts if part) + "\n"


def pipeline(record: Record) -> str | None:
    """The hub's word for what the model does, by the published architecture's name."""
    names = record.model.get("architectures") or []
    return next((tag for name in names for ending, tag in PIPELINES if str(name).endswith(ending)), None)


def _front_matter(record: Record) -> str:
    below = record.danlu.get("base")
    data: Data = {"library_name": "peft" if below else "transformers", "tags": ["danlu"]}
    if isinstance(below, dict) and below.get("name"):
        data["base_model"] = str(below["name"])
    if family := record.danlu.get("family"):
        data["tags"] = ["danlu", str(family)]
    if tag := pipeline(record):
        data["pipeline_tag"] = tag
    results: dict[str, list[Data]] = {}
    for row in measured_rows(record):
        name = str(row["name"])
        words = measure_name(name, Voice("en"))
        results.setdefault(str(row.get("data", "")), []).append({"type": name, "value": row["value"], "name": words})
    if results:
        data["model-index"] = [{"name": record.name, "results": [
            {"task": {"type": tag or "other"}, "dataset": {"type": "other", "name": source}, "metrics": metrics}
            for source, metrics in results.items()
        ]}]  # fmt: skip
    return f"---\n{to_yaml(data)}---"


def _about(record: Record, voice: Voice) -> str:
    start = record.config.get("start") or record.danlu.get("family") or "?"
    sentence = voice.pick(f"Trained with danlu from `{_text(start)}`", f"用丹炉训练，起点为 `{_text(start)}`")
    if record.prompts:
        sentence = voice.pick(
            f"A prompt for `{_text(start)}`, found with danlu; the model is as it was",
            f"由丹炉为 `{_text(start)}` 找到的提示；模型本身未变",
        )
    if is_number(count := record.danlu.get("parameters")):
        sentence += voice.pick(f"; {count:,} parameters", f"；参数量 {count:,}")
    part = record.danlu.get("trained")
    if (
        not record.compression
        and isinstance(part, dict)
        and is_number(share := part.get("share"))
        and is_number(trains := part.get("trains"))
    ):
        kind = record.section("adapt").get("kind") or "part"
        if share < 1:
            sentence += voice.pick(f", of which {trains:,} ({share:.2%}) trained: `{_text(kind)}`",
                                   f"，其中训练了 {trains:,} 个（{share:.2%}）：`{_text(kind)}`")  # fmt: skip
    return sentence + voice.pick(".", "。")


def _quality(record: Record, voice: Voice) -> str:
    rows = [
        (
            _text(measure_name(str(row["name"]), voice)),
            value_text(row),
            interval_text(row),
            count_text(row, voice),
            _text(data_name(str(row.get("data", "")), voice)),
        )
        for row in measured_rows(record)
    ]
    head = [
        voice.pick(*words)
        for words in (
            ("measure", "指标"),
            ("value", "数值"),
            ("95 % interval", "95% 区间"),
            ("measured on", "评测样本"),
            ("data", "数据"),
        )
    ]
    if rows:
        return _table(head, rows)
    losses = record.metrics.validation("loss")[1]
    return (
        voice.pick(f"Best validation loss: {min(losses):.4f} nats.", f"最佳验证损失：{min(losses):.4f} nat。")
        if losses
        else ""
    )


def _training(record: Record, voice: Voice) -> str:
    steps = record.metrics.steps
    if not steps:
        return ""
    last = steps[-1]
    words = [voice.pick(f"{last['step']:,} steps", f"{last['step']:,} 步")]
    if is_number(last.get("seconds")):
        words.append(clock(last["seconds"]))
    if is_number(last.get("loss")):
        words.append(voice.pick(f"last training loss {last['loss']:.4f}", f"最终训练损失 {last['loss']:.4f}"))
    summary = voice.pick("all settings", "全部设置")
    settings = (
        f"<details><summary>{summary}</summary>\n\n{_code('yaml', to_yaml(record.config).rstrip())}\n\n</details>"
    )
    return voice.pick(", ", "，").join(words) + (f"\n\n{settings}" if record.config else "")


def _lineage(record: Record) -> str:
    facts = {name: record.danlu[name] for name in ("lineage", "changes", "hashes") if record.danlu.get(name)}
    if isinstance(hashes := (facts.get("lineage") or {}).get("data"), dict):
        facts["lineage"] = facts["lineage"] | {"data": {known_as(name): each for name, each in hashes.items()}}
    rows = bucket_counts(record.ledger)
    facts |= {"ledger": rows} if rows else {}
    return _code("yaml", to_yaml(facts).rstrip()) if facts else ""


def _proofs(record: Record, voice: Voice) -> str:
    found = record.danlu.get("proofs")
    proofs = found if isinstance(found, dict) else {}
    return "\n".join(f"- {voice.pick(*PROOFS.get(name, (name, name)))}: {_text(said)}" for name, said in proofs.items())


def _use(record: Record) -> str:
    call = TRY["text-classification"] if record.prompts else TRY.get(pipeline(record) or "")
    if call and record.model.get("problem_type") == "regression":
        call = 'model.regress("…").value'
    return (
        _code("python", f'import danlu\n\nmodel = danlu.load("{record.config.get("output") or record.name}")\n{call}')
        if call
        else ""
    )


def _part(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _code(language: str, text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def _text(value: object) -> str:
    """One line of Markdown in which nothing of the value is markup."""
    return str(value).replace("\n", " ").replace("<", "&lt;").replace("`", "'")
