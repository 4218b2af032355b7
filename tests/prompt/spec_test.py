import json
from pathlib import Path

import pytest

from danlu.errors import DanluError
from danlu.prompt.notation import read_notation, write_notation
from danlu.prompt.segments import Demos, FieldOf, LabelOf, Mask, Soft, Text
from danlu.prompt.spec import MAX_BYTES, distinct, read_spec, spec_of

WORDS = {"words": {"positive": ["great", "very good"], "negative": ["terrible"]}}
PLAIN = {"templates": ["{text} It was {mask}."], "verbaliser": WORDS}


def test_a_line_is_its_segments() -> None:
    line = "{demos}Review {{sic}}: {text} It was [MASK]. {soft:5}{label}"
    segments = read_notation(line)
    assert segments == (
        Demos(), Text(text="Review {sic}: "), FieldOf(name="text"), Text(text=" It was "), Mask(), Text(text=". "),
        Soft(count=5), LabelOf(),
    )  # fmt: skip
    assert read_notation(write_notation(segments)) == segments


@pytest.mark.parametrize("line", ["{text", "text}", "{a b}", "{soft:0}", "{soft}", "{text:3}"])
def test_a_brace_that_says_nothing_is_an_error(line: str) -> None:
    with pytest.raises(DanluError, match="E2311"):
        read_notation(line)


def test_a_file_reads_back_as_the_same_prompt(tmp_path: Path) -> None:
    """Templates stand in it as lines where a line says all, else as segments."""
    long = [
        {"kind": "field", "name": "text", "share": 0.5, "keep": "end"},
        {"kind": "text", "text": " So "},
        {"kind": "mask"},
    ]
    pool = [{"values": {"text": "fun"}, "label": "positive"}]
    spec = spec_of(PLAIN | {
        "templates": ["{text} It was {mask}.", long], "calibration": "contextual", "query": "{text}",
        "demonstrations": {"pool": pool, "count": 1, "selector": "nearest", "order": "shuffled", "seed": 7},
        "made_by": ["pattern:sentiment.it_was"], "language": "zh", "length": 64,
    })  # fmt: skip
    spec.write(tmp_path / "prompt.json")
    data = json.loads((tmp_path / "prompt.json").read_text(encoding="utf8"))
    assert data["templates"][0] == "{text} It was {mask}."
    assert data["format"] == 1
    assert isinstance(data["templates"][1], list)
    assert read_spec(tmp_path / "prompt.json") == spec


def test_several_parts_a_phrase() -> None:
    spec = spec_of({"templates": ["{mask}: {mask}"], "verbaliser": {"words": {"a": [["x", "y"]], "b": [["x", "z"]]}}})
    assert spec.verbaliser.phrases == [("x", "y"), ("x", "z")]
    assert spec_of(json.loads(spec.to_json())) == spec


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"templates": ["no place"]}, "E2302"), ({"templates": ["{mask} {label}"]}, "E2302"),
        ({"templates": []}, "E1102"), ({"templates": [[]]}, "E1102"), ({"templates": "{mask} and {mask}"}, "E2308"),
        ({"verbaliser": {"words": {"a": ["x"]}}}, "E2303"), ({"verbaliser": {"words": {"a": ["x"], "b": []}}}, "E2303"),
        ({"verbaliser": {"words": {"a": ["x"], "b": [" "]}}}, "E2303"),
        ({"verbaliser": {"words": {"a": ["x", "y"], "b": ["y "]}}}, "E2304"),
        ({"demonstrations": {"count": 1}}, "E2310"),
        ({"demonstrations": {"pool": [{"values": {}, "label": "other"}]}}, "E2310"),
        ({"format": 2}, "E2301"), ({"code": "import os"}, "E1101"), ({"calibration": "always"}, "E1102"),
        ({"templates": [[{"kind": "code", "text": "x"}]]}, "E1102"),
        ({"templates": [[{"kind": "soft", "count": 10**9}, {"kind": "mask"}]]}, "E1102"),
    ],
)  # fmt: skip
def test_what_does_not_fit_has_a_number(changes: dict[str, object], code: str) -> None:
    with pytest.raises(DanluError) as caught:
        spec_of(PLAIN | changes)
    problems = getattr(caught.value, "problems", [caught.value])
    assert {problem.code for problem in problems} == {code}


def test_what_is_no_prompt(tmp_path: Path) -> None:
    path = tmp_path / "prompt.json"
    for text in ("", "[]", "{", "nul", '{"templates":' + "[" * 5000, '{"a":"' + "x" * MAX_BYTES + '"}', "\udcff" * 3):
        path.write_text(text, encoding="utf8", errors="surrogateescape")
        with pytest.raises(DanluError) as caught:
            read_spec(path)
        assert caught.value.code == "E2301"
    with pytest.raises(DanluError, match="E2301"):
        read_spec(tmp_path / "none.json")


def test_prompts_that_differ_in_who_made_them_are_one() -> None:
    spec = spec_of(PLAIN)
    other = spec.but(calibration="pmi")
    assert distinct([spec, spec.but(made_by=["x"]), other]) == [spec, other]
