"""Pictures and captions from wherever they lie; nothing is lost without a word."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from danlu.data.ledger import Ledger
from danlu.data.pictures.pairs import Pair, Pairing
from danlu.data.pictures.settings import PictureSettings
from danlu.errors import DanluError
from danlu.voice import Voice


def png(number: int = 0) -> bytes:
    raw = io.BytesIO()
    Image.new("RGB", (6, 5), (number, 2 * number, 90)).save(raw, "PNG")
    return raw.getvalue()


def read(path: Path, **changes: object) -> tuple[list[Pair], Ledger]:
    ledger = Ledger()
    settings = PictureSettings(**changes)  # type: ignore[arg-type]
    return Pairing(settings, ledger, Voice(quiet=True)).pairs([str(path)]), ledger


def folder(place: Path, files: Mapping[str, bytes]) -> Path:
    for name, raw in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(raw)
    return place


def tar(place: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(place.with_suffix(".tar"), "w") as archive:
        for name, raw in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return place.with_suffix(".tar")


def zipped(place: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(place.with_suffix(".zip"), "w") as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
    return place.with_suffix(".zip")


Box = Callable[[Path, Mapping[str, bytes]], Path]
every_box = pytest.mark.parametrize("box", [folder, tar, zipped])


def lines(*rows: object) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


@every_box
def test_a_table_names_pictures(box: Box, tmp_path: Path) -> None:
    table = lines({"file_name": "a.png", "text": "one"}, {"file_name": "sub/b.png", "text": ["two", "二"]})
    place = box(tmp_path / "d", {"captions.jsonl": table, "a.png": png(1), "sub/b.png": png(2)})
    found, ledger = read(place)
    assert [pair.captions for pair in found] == [("one",), ("two", "二")]
    assert [pair.read() for pair in found] == [png(1), png(2)]
    assert (ledger.read, ledger.dropped.total()) == (2, 0)


@every_box
def test_texts_beside_pictures(box: Box, tmp_path: Path) -> None:
    files = {"a.png": png(1), "a.txt": b"  a\n cat ", "b.png": png(2), "b.json": lines({"caption": "a dog"})}
    found, _ = read(box(tmp_path / "d", files))
    assert sorted(pair.captions[0] for pair in found) == ["a cat", "a dog"]


@every_box
def test_folders_are_classes(box: Box, tmp_path: Path) -> None:
    files = {"tabby_cat/1.png": png(1), "tabby_cat/2.png": png(2), "dog/3.png": png(3)}
    found, _ = read(box(tmp_path / "d", files), caption="a photo of a {name}")
    assert [pair.captions[0] for pair in found].count("a photo of a tabby cat") == 2
    assert len(found) == 3


def test_csv_and_parquet(tmp_path: Path) -> None:
    folder(tmp_path, {"a.png": png(1), "list.csv": b"image,title\na.png,one\n"})
    assert read(tmp_path / "list.csv")[0][0].captions == ("one",)
    rows = [{"image": {"bytes": png(n), "path": None}, "zh": f"第{n}", "en": f"no {n}"} for n in range(5)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet", row_group_size=2)
    found, _ = read(tmp_path / "t.parquet", text="zh")
    assert [pair.captions[0] for pair in found] == [f"第{n}" for n in range(5)]
    assert [pair.read() for pair in reversed(found)] == [png(n) for n in (4, 3, 2, 1, 0)]
    assert read(tmp_path / "t.parquet", text="{en}: {zh}")[0][2].captions == ("no 2: 第2",)


def test_pictures_in_an_archive_beside_their_table(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    zipped(tmp_path / "d" / "images", {"a.png": png(1), "b.png": png(2)})
    (tmp_path / "d" / "names.tsv").write_text("file\tname_en\tname_zh\na.png\tone\t一\nb.png\ttwo\t二\n")
    found, ledger = read(tmp_path / "d" / "names.tsv", text="name_zh")
    assert [(pair.captions[0], pair.read()) for pair in found] == [("一", png(1)), ("二", png(2))]
    assert ledger.dropped.total() == 0


def test_what_has_no_partner_is_counted(tmp_path: Path) -> None:
    table = lines(
        {"image": "a.png", "text": "one"}, {"image": "gone.png", "text": "two"}, {"image": "b.png", "text": " "},
        {"text": "three"},
    )  # fmt: skip
    place = folder(tmp_path / "d", {"captions.jsonl": table, "a.png": png(1), "b.png": png(2), "c.png": png(3)})
    found, ledger = read(place)
    assert len(found) == 1
    assert ledger.dropped == {"no picture": 2, "no caption": 2}
    assert ledger.read == 5  # four rows, and a picture that no row names


def test_sidecars_without_pictures_are_counted(tmp_path: Path) -> None:
    found, ledger = read(folder(tmp_path / "d", {"a.png": png(), "a.txt": b"one", "b.txt": b"two", "c.png": png()}))
    assert len(found) == 1
    assert ledger.dropped == {"no picture": 1, "no caption": 1}


def test_too_many_broken_rows_are_an_error(tmp_path: Path) -> None:
    table = lines(*({"image": f"{n}.png", "text": "x"} for n in range(30)))
    place = folder(tmp_path / "d", {"captions.jsonl": table, "1.png": png()})
    with pytest.raises(DanluError, match="E1210"):
        read(place)
    assert len(read(place, broken=1.0)[0]) == 1


@pytest.mark.parametrize("files", [{"a.png": png()}, {"captions.jsonl": lines({"image": "x.png", "text": "y"})}, {}])
def test_nothing_to_learn_from(files: Mapping[str, bytes], tmp_path: Path) -> None:
    place = folder(tmp_path / "d", files)
    place.mkdir(exist_ok=True)
    with pytest.raises(DanluError, match="E2207"):
        read(place)


def test_a_tar_that_breaks_off_gives_what_it_has(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files: dict[str, bytes] = {}
    for number in range(6):
        files |= {f"{number}.txt": f"no {number}".encode(), f"{number}.png": png(number) + rng.bytes(3000)}
    whole = tar(tmp_path / "d", files)
    raw = whole.read_bytes()
    assert len(read(whole)[0]) == 6
    for share in (0.2, 0.4, 0.6):
        whole.write_bytes(raw[: int(len(raw) * share)])
        found, ledger = read(whole)
        assert 0 < len(found) < 6
        assert ledger.dropped["cut off"] == 1
        assert all(pair.read().startswith(b"\x89PNG") for pair in found)


@pytest.mark.parametrize(
    ("name", "raw", "code"),
    [("x.tar", b"nonsense" * 200, "E2206"), ("x.zip", b"PK nonsense", "E2206"), ("x.tar.gz", b"\x1f\x8b123", "E2205"),
     ("x.png", png(), "E2208"), ("x.parquet", b"PAR1", "E1208")],
)  # fmt: skip
def test_files_that_are_no_data(name: str, raw: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DanluError, match=code):
        read(tmp_path / name)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="E1201"):
        read(tmp_path / "gone")
    folder(tmp_path, {"a.png": png(), "t.jsonl": lines({"what": "a.png", "ever": "x"})})
    with pytest.raises(DanluError, match="E2209"):
        read(tmp_path / "t.jsonl")
    with pytest.raises(DanluError, match="E1203"):
        read(tmp_path / "t.jsonl", image="whatt")


def test_names_that_lead_outside_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    table = lines({"image": "../secret.png", "text": "x"}, {"image": "/etc/passwd", "text": "y"})
    place = folder(tmp_path / "d", {"captions.jsonl": table})
    with pytest.raises(DanluError, match="E2207"):
        read(place)
