"""What is asked about pictures, from any kind of source; and the rows that come of it."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image, ImageSequence

from danlu.data.batch import IGNORED
from danlu.data.builtin_pictures import films
from danlu.data.pictures.loader import Framing
from danlu.data.pictures.prepare import gather
from danlu.data.pictures.questions import asking
from danlu.data.pictures.settings import PictureSettings
from danlu.data.pictures.sheets import Asked, Sheet, SheetLoader
from danlu.errors import DanluError
from danlu.vision.processor import siglip_processor
from danlu.voice import Voice

QUIET = Voice(quiet=True)


def png(shade: int = 0) -> bytes:
    raw = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(raw, "PNG")
    return raw.getvalue()


def asked(path: Path, **settings: Any) -> list[tuple[tuple[str, ...], tuple[tuple[str, str], ...]]]:
    data = PictureSettings(paths=(str(path),), broken=1.0, **settings)
    return [(pair.captions, pair.questions) for pair in gather(data, QUIET, asks=True).training]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"question": "what is  it?", "answer": "a cat"}, [("what is it?", "a cat")]),
        ({"question": "how many?", "answer": 3}, [("how many?", "3")]),
        ({"question": "q", "answers": ["no", "yes", "yes"]}, [("q", "yes")]),
        ({"question": "q", "answers": [{"answer": "yes"}, {"answer": "yes"}, {"answer": "no"}]}, [("q", "yes")]),
        ({"question": ["a?", "b?"], "answer": ["1", "2"]}, [("a?", "1"), ("b?", "2")]),
        ({"question": ["a?", "b?"], "answer": ["1"]}, []),
        ({"问题": "是什么？", "答案": "猫"}, [("是什么？", "猫")]),
        ({"question": "q", "answer": None}, []),
        ({"conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."},
                            {"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]},
         [("What?", "A cat."), ("Sure?", "Yes.")]),
        ({"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cat."}]},
         [("What?", "A cat.")]),
        ({"conversations": "nonsense"}, []),
    ],
    ids=str,
)  # fmt: skip
def test_rows(row: dict[str, Any], wanted: list[tuple[str, str]]) -> None:
    ask = asking(PictureSettings(), list(row), "rows")
    assert ask
    assert list(ask(row)) == wanted


def test_columns_are_named_or_found() -> None:
    assert asking(PictureSettings(), ["image", "caption"], "rows") is None
    assert asking(PictureSettings(text="caption"), ["question", "answer", "caption"], "rows") is None
    own = asking(PictureSettings(question="frage", answer="antwort"), ["frage", "antwort"], "rows")
    assert own
    assert own.name == "frage, antwort"
    with pytest.raises(DanluError, match="E1203"):
        asking(PictureSettings(question="frage"), ["question", "answer"], "rows")


def test_a_table_beside_a_zip_file(tmp_path: Path) -> None:
    """Pictures are named by numbers; several rows ask about one."""
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.png", png(number))
    rows = ["image_id\tquestion\tanswer", "0\ta?\tyes", "0\tb?\tno", "2\ta?\tno", "7\ta?\tno"]
    (tmp_path / "rows.tsv").write_text("\n".join(rows))
    assert asked(tmp_path / "rows.tsv") == [((), (("a?", "yes"), ("b?", "no"))), ((), (("a?", "no"),))]


def test_parquet_and_a_tar_with_json(tmp_path: Path) -> None:
    said = {"question": ["a?"], "answer": ["yes"], "text": "dark"}
    rows = [{"image": {"bytes": png(shade), "path": None}, **said} for shade in (1, 2)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert asked(tmp_path / "rows.parquet") == [(("dark",), (("a?", "yes"),))] * 2
    with tarfile.open(tmp_path / "rows.tar", "w") as tar:
        said = json.dumps({"question": "a?", "answer": "yes", "en": "dark", "zh": "暗"}).encode()
        for name, raw in (("one.png", png()), ("one.json", said)):
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    assert asked(tmp_path / "rows.tar") == [((), (("a?", "yes"),))]
    assert asked(tmp_path / "rows.tar", text="en|zh") == [(("dark", "暗"), ())]


def test_several_columns_of_captions(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "rows.jsonl").write_text(json.dumps({"image": "a.png", "en": "dark", "zh": "暗"}))
    assert asked(tmp_path / "rows.jsonl", text="en|zh") == [(("dark", "暗"), ())]
    with pytest.raises(DanluError, match="E1203"):
        asked(tmp_path / "rows.jsonl", text="en|fr")


def test_no_frame_alone_says_where_a_digit_goes() -> None:
    """Whichever way it moves, it may stand anywhere in any frame."""
    places: dict[str, list[float]] = {}
    for row in films(400):
        with Image.open(io.BytesIO(row["image"])) as film:
            first = np.asarray(next(iter(ImageSequence.Iterator(film))).convert("L"), float)
        angle = np.angle((first.sum(0) * np.exp(2j * np.pi * np.arange(first.shape[1]) / first.shape[1])).sum())
        places.setdefault(row["direction"], []).append(float(angle))
        assert row["answer"][0] == row["direction"]
    for found in places.values():
        assert abs(np.exp(1j * np.array(found)).mean()) < 0.25  # nowhere in particular


# Rows


SHEET = Sheet(stem=(1, 9, 9), after=(2,), end=3, length=14)
PIXELS = np.zeros((2, 8, 8, 3), np.uint8)
TEXTS = [[20, 21], [30], [22], [31, 32]]


def loader(**words: Any) -> SheetLoader:
    data = Asked(PIXELS, np.arange(2), [[(0, 1), (2, 3)], [(2, 1)]], TEXTS, [[0], [1]], [[5, 6], [7]])
    return SheetLoader(data, SHEET, siglip_processor(8), 2, 0, **words)


def test_a_row_is_a_picture_and_branches() -> None:
    batch = loader(shuffle=False).batch(0)
    tokens, targets, branches = batch.inputs["tokens"][0], batch.targets["tokens"][0], batch.inputs["branches"][0]
    assert tokens.tolist() == [1, 9, 9, 2, 20, 21, 30, 2, 22, 31, 32]
    assert targets.tolist() == [*[IGNORED] * 5, 30, 3, IGNORED, 31, 32, 3]
    assert branches.tolist() == [0, 0, 0, *[1] * 4, *[2] * 4]
    assert batch.count("tokens") == 5 + 2
    assert SHEET.prompt([20, 21]) == tokens.tolist()[:6]
    alone = loader(shuffle=False, most=1).batch(0)
    assert "branches" not in alone.inputs
    assert alone.targets["tokens"][0].tolist() == [*[IGNORED] * 5, 30, 3]


def test_what_has_no_room_is_left_out() -> None:
    short = Sheet(SHEET.stem, SHEET.after, SHEET.end, 9)
    made = short.rows([[([20, 21], [30]), ([22], [31, 32])]])
    assert made["tokens"].shape == (1, 7)
    assert short.prompt(list(range(40, 60))) == [1, 9, 9, 2, *range(56, 60)]


def test_batches_are_a_function_of_the_step() -> None:
    first, again = loader(framing=Framing(0, 9, marked=True)), loader(framing=Framing(0, 9, marked=True))
    for step in (5, 1):
        one, other = first.batch(step), again.batch(step)
        assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
        assert {"captions", "captions_valid", "alike"} <= one.targets.keys()
    seen = {tuple(first.batch(step).inputs["tokens"].flatten().tolist()) for step in range(8)}
    assert len(seen) > 1  # other questions first
    parts = [first.sliced(rank, 2).batch(3).inputs["images"] for rank in range(2)]
    assert torch.equal(torch.cat(parts), first.batch(3).inputs["images"])
