from pathlib import Path

import pytest
import yaml

from danlu.errors import Language
from danlu.report.card import card, pipeline, write_card
from danlu.report.record import Record
from danlu.report.summary import summary_section
from danlu.voice import Voice


@pytest.mark.parametrize(
    ("language", "words"), [("en", ["Quality", "Repeat", "bits a byte"]), ("zh", ["质量", "重复", "每字节比特数"])]
)
def test_the_card_of_a_run(run_folder: Path, language: Language, words: list[str]) -> None:
    text = write_card(run_folder, language).read_text(encoding="utf8")
    _, front, body = text.split("---\n", 2)
    matter = yaml.safe_load(front)
    assert (matter["library_name"], matter["pipeline_tag"], matter["tags"]) == (
        "transformers",
        "text-generation",
        ["danlu", "gpt2"],
    )
    metrics = matter["model-index"][0]["results"][0]["metrics"]
    assert metrics[0] == {"type": "bits_per_byte", "value": 1.412, "name": "bits a byte"}
    for part in [
        *words,
        "1.3910 – 1.4330",
        "13,924,352",
        "9f2c" * 16,
        "danlu pretrain gpt-austen/config.yaml",
        "lr: 0.001",
    ]:
        assert part in body


def test_an_adapter_names_what_it_stands_on_and_how_little_it_is() -> None:
    part = {"trains": 300, "parameters": 10_000, "share": 0.03}
    facts = {"base": {"name": "minilm"}, "trained": part, "parameters": 9_700}
    text = card(Record(Path("x"), config={"adapt": {"kind": "lora"}}, danlu=facts), Voice("en"))
    matter = yaml.safe_load(text.split("---\n")[1])
    assert (matter["library_name"], matter["base_model"]) == ("peft", "minilm")
    assert "of which 300 (3.00%) trained: `lora`" in text
    whole = card(Record(Path("x"), danlu={"trained": part | {"share": 1.0}, "parameters": 9_700}), Voice("en"))
    assert "trained:" not in whole


def test_proofs_are_shown_where_recorded() -> None:
    proved = Record(Path("x"), danlu={"proofs": {"resume": "40 kills, all bit-equal"}})
    assert "resumes to the same bits: 40 kills" in card(proved, Voice("en"))
    assert "Proofs" not in card(Record(Path("x")), Voice("en"))


def test_names_cannot_become_markup_or_leave_their_cell() -> None:
    rows = [{"name": "a|<b>", "value": 1.0, "data": "c|\nd"}]
    text = card(Record(Path("<i>"), evaluation={"results": rows}), Voice("en")).split("---\n", 2)[2]
    assert "<b>" not in text
    assert "<i>" not in text
    assert "| a\\|&lt;b> |" in text


def test_code_cannot_end_its_own_block() -> None:
    text = card(
        Record(Path("x"), config={"a": "```\n# no"}, metrics=Record(Path("x")).metrics, danlu={"changes": "```"}),
        Voice("en"),
    )
    assert "````yaml" in text


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("BertForMaskedLM", "fill-mask"),
        ("GPT2LMHeadModel", "text-generation"),
        ("T5ForConditionalGeneration", "text2text-generation"),
        ("Odd", None),
    ],
)
def test_pipeline_by_architecture(name: str, tag: str | None) -> None:
    assert pipeline(Record(Path("x"), model={"architectures": [name]})) == tag


def test_the_report_of_a_part_says_how_much_trained_and_what_it_takes(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/adapter_model.safetensors").write_bytes(bytes(1_500_000))
    part = {"trains": 300, "parameters": 10_000, "share": 0.03}
    shown = str(summary_section(Record(tmp_path, danlu={"trained": part, "parameters": 9_700}), Voice("en")))
    assert "of them trained" in shown
    assert "3.00%" in shown
    assert "1.5 MB" in shown
    whole = str(
        summary_section(Record(tmp_path, danlu={"trained": part | {"share": 1.0}, "parameters": 9}), Voice("en"))
    )
    assert "of them trained" not in whole
