"""Settings files as nobody should write them: a numbered error or a plan, soon, and in little memory."""

import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from danlu.errors import DanluError
from danlu.recipes.pretraining.plan import plan
from danlu.recipes.pretraining.stage import Pretrain
from danlu.recipes.runs.call import Call
from danlu.settings import build, names, read_yaml, to_yaml
from danlu.voice import Voice

FEW, MANY = 300, 10_000
SECONDS, BYTES = 2.0, 1_000_000_000
NAMES = [
    *names(Pretrain),
    "model.width",
    "model.heads",
    "learning_rate",
    "max_steps",
    "output_dir",
    "trian.lr",
    "x" * 300,
]
VALUES = [
    0, 1, -1, 3, 2**31, 2**63, 10**30, 0.5, -1e300, 1e-320, float("inf"), float("nan"), True, False, None, "", "auto",
    "a" * 5000, "gpt-tiny", "bert-mini", "gpt3-175b", "~", "\x00", "\ud800", "🜂", "{}", [], {}, [[]],
    {"a": {"b": {"c": 1}}},
    ["x"] * 1000, {str(number): number for number in range(500)}, "1e400", "0x10", "01", "yes", ".", "2024-01-01",
    "builtin:x",
]  # fmt: skip


def structured(chance: random.Random, base: dict) -> bytes:
    """A sound file in which a few settings are replaced."""
    data = yaml.safe_load(to_yaml(base))
    for _ in range(chance.randint(1, 4)):
        section = data
        *parents, last = chance.choice(NAMES).split(".")
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                break
        else:
            section[last] = chance.choice(VALUES)
    try:
        return yaml.safe_dump(data, allow_unicode=chance.random() < 0.5).encode("utf8", errors="surrogatepass")
    except (ValueError, yaml.YAMLError):
        return b"a: [1"


def damaged(chance: random.Random, base: dict) -> bytes:
    """A sound file with bytes flipped, cut out, doubled or put in."""
    raw = bytearray(to_yaml(base).encode())
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(raw) + 1)
        size = chance.choice((1, 1, 1, 5, 60))
        kind = chance.randrange(4)
        if kind == 0 and place < len(raw):
            raw[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del raw[place : place + size]
        elif kind == 2:
            raw[place:place] = raw[place : place + size]
        else:
            raw[place:place] = chance.choice(
                (b"[", b"{", b": ", b"\n", b"\t", b"&a ", b"*a", b"!!", b"- ", b"\xff", b"'", b"#", b"? ", b"| ")
            )
    return bytes(raw)


def nested(chance: random.Random, base: dict) -> bytes:
    """Very deep, very wide, very long."""
    size = chance.choice((10, 1_000, 9_000, 60_000))
    return chance.choice((
        b"[" * size, b"{a: " * size, b"a:\n" + b"".join(b" " * depth + b"a:\n" for depth in range(min(size, 300))),
        b"- " * size, b"? " * size, b"a" * size + b": 1", b"".join(b"k%d: 1\n" % number for number in range(size)),
        b"train: {" + b"".join(b"lr%d: 1, " % number for number in range(min(size, 6_000))) + b"}",
        b"data: {paths: [" + b"a.txt, " * size + b"]}", b"a: '" + b"x" * size, b"a: |\n" + b" x\n" * size, b"%" * size,
        b"a: " + b"9" * size, b"a.b: 1\n" * size, b"'" * size, b"a: \"" + b"\\x41" * size + b"\"",
    ))  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict:
    text = tmp_path_factory.mktemp("fuzz") / "a.txt"
    text.write_text("Some words to learn from.\n" * 50)
    return build(Pretrain, {"start": "gpt-tiny", "data": {"paths": [str(text)]}}).model_dump(mode="json")


@pytest.mark.parametrize("make", [structured, damaged, nested], ids=lambda make: make.__name__)
def test_settings_files(
    make: Callable[[random.Random, dict], bytes],
    base: dict,
    full: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # "~" is among the values, and a home may be large
    path = tmp_path / "x.yaml"
    codes: set[str] = set()
    for seed in range((MANY if full else FEW) // (1 if make is not nested else 4)):
        raw = make(random.Random(seed), base)
        path.write_bytes(raw)
        start = time.process_time()
        try:
            plan(Call((str(path),), {}, Voice(quiet=True)))
            codes.add("fine")
        except DanluError as error:
            codes.add(error.code if len(error.render("zh")) < 100_000 else "too long")
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}\n{raw[:2000]!r}") from error
        assert time.process_time() - start < SECONDS, f"seed {seed}: {raw[:200]!r}"
    assert len(codes - {"too long"}) == len(codes) > 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < BYTES + 2e9  # torch itself takes its part


def test_the_sound_file_is_sound(base: dict, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(to_yaml(base))
    assert build(Pretrain, read_yaml(path)).model_dump(mode="json") == base
    assert plan(Call((str(path),), {}, Voice(quiet=True))).start.name == "gpt2-tiny"
