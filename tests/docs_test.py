"""The documentation is true: its commands and programs run, its tables are those of the code, both languages agree.

`python tests/docs_test.py write` brings the tables of docs/*/settings.md and docs/*/errors.md up to date.

Every ```bash and ```python block of a page runs, one page in one shell and one folder, with the sample files that
`sample_files` makes. What takes minutes is made short by the table CHEAPER, and by that alone. ```console blocks are
for the eye: they show output, fail on purpose, or take too long. The Chinese page has the same commands as the English
one, so that only the English one is run.
"""

import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from danlu.checkpoint import Checkpoint
from danlu.cli import VERBS, main
from danlu.errors import catalogue
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.recipes.looking.explain import SETTINGS, settings_of
from danlu.settings import Settings
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

QUIET = Voice(quiet=True)
ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAIRS = {"README": (ROOT / "README.md", ROOT / "README.zh-CN.md")} | {
    path.stem: (path, DOCS / "zh" / path.name) for path in sorted((DOCS / "en").glob("*.md"))
}
PAGES = [page for pair in PAIRS.values() for page in pair] + sorted(DOCS.glob("*.md"))

# What a page says -> what the test runs: tiny models, two steps, eight tokens.
CHEAPER = (
    (r"-(mini|small)\b", "-tiny"),
    (r"train\.(steps|epochs|minutes)[= ][\d.]+", "train.steps=2"),
    (r'"steps": \d+', '"steps": 2'),
    (r"^(danlu pretrain (?!runs/\S+$|--help)(?:(?!train\.steps).)+)$", r"\1 train.steps=2"),
    (r"^(danlu pretrain (?!clip|siglip|align).*train\.steps=2.*)$", r"\1 samples.tokens=4"),
    (r"^danlu finetune minilm\b(.*)$", r"danlu finetune bert-tiny\1"),
    (r"^(danlu finetune (?!runs/\S+$|--help)(?:(?!train\.steps).)+)$", r"\1 train.steps=2"),
    (r"builtin:english\b", "my.txt"),
    (r"\btokens=\d+", "tokens=8"),
    (r"max_new_tokens=\d+", "max_new_tokens=8"),
    (r"^(danlu estimate .+)$", r"\1 calibrate=0.1"),
    (r"^(danlu verify resume .+)$", r"\1 steps=2"),
    (r"^(danlu tokenizer train .+)$", r"\1 tokenizer.sample=20000"),
)


class Block(NamedTuple):
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    return [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def commands(page: Path) -> list[Block]:
    """What a reader can type, without comments; of console blocks, the lines after `$`."""
    found = []
    for language, text in blocks(page.read_text(encoding="utf8")):
        lines = [re.sub(r"\s*(^|  )#.*", "", line) for line in text.splitlines()]
        if language == "console":
            lines = [line.replace(" lang=zh", "") for line in lines if line.startswith("$ ")]
        if language in ("bash", "python", "console"):
            found.append(Block(language, "\n".join(filter(None, lines))))
    return found


def script(page: Path) -> str:
    """A page's blocks as one shell script, made short."""
    parts = []
    for language, text in blocks(page.read_text(encoding="utf8")):
        text = re.sub(r"^(danlu .*?) +# .*$", r"\1", text, flags=re.MULTILINE)
        for pattern, instead in CHEAPER:
            text = re.sub(pattern, instead, text, flags=re.MULTILINE)
        if language == "bash":
            parts.append(text)
        elif language == "python":
            parts.append(f"python - <<'END'\n{text}END\n")
    return "".join(parts)


# Pages are run


RUN = [name for name, (page, _) in PAIRS.items() if script(page)]


@pytest.mark.parametrize("name", RUN)
def test_every_command_of_a_page_runs(name: str, workplace: Path, danlu: dict[str, str]) -> None:
    folder = workplace / name
    folder.mkdir()
    sample_files(folder)
    if name == "convert":
        old_model(folder / "old-model")
    text = "set -eux -o pipefail\n" + script(PAIRS[name][0])
    done = subprocess.run(
        ["bash"], input=text, cwd=folder, env=danlu, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-2500:]}"


@pytest.mark.parametrize("page", PAIRS["README"], ids=lambda page: page.name)
def test_the_readme_names_every_verb(page: Path) -> None:
    text = page.read_text(encoding="utf8")
    assert [verb.name for verb in VERBS if f"`{verb.name}`" not in text] == []


@pytest.mark.parametrize("name", PAIRS)
def test_both_languages_have_the_same_commands_and_headings(name: str) -> None:
    english, chinese = PAIRS[name]
    assert chinese.is_file()
    assert commands(english) == commands(chinese)
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


def test_every_verb_has_its_page() -> None:
    around = (DOCS / "en/around.md").read_text(encoding="utf8")
    for verb in VERBS:
        assert verb.name in PAIRS or f"## {verb.name}" in around or f"`danlu {verb.name}" in around, verb.name


def test_this_test_can_fail(workplace: Path, danlu: dict[str, str]) -> None:
    done = subprocess.run(["bash", "-c", "danlu pretend"], cwd=workplace, env=danlu, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"E1001" in done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    places = (ROOT, ROOT / "src/danlu")
    for name in re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py|tests/[a-z]+)`", page.read_text(encoding="utf8")):
        assert any((place / name).exists() for place in places), name


def headings(page: Path) -> list[tuple[int, str]]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf8"), flags=re.MULTILINE | re.DOTALL)
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", text, re.MULTILINE)]


def anchors(page: Path) -> set[str]:
    """The anchors of headings as GitHub makes them; one that comes again is numbered."""
    found: Counter[str] = Counter()
    names = set()
    for _, title in headings(page):
        name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


# Tables are the code's


class Table(NamedTuple):
    """One table of a page: columns that the code gives, then one that a person writes."""

    name: str
    rows: dict[str, tuple[str, ...]]


def settings_tables() -> Iterator[Table]:
    """The groups of a pretraining run, then what other verbs take beside them."""
    groups: dict[str, dict[str, tuple[str, ...]]] = {}
    for verb in ("pretrain", *SETTINGS):
        for name, row in settings_rows(settings_of(verb)):
            known = any(name in rows for rows in groups.values())
            group = name.rpartition(".")[0] or ("run" if verb == "pretrain" else f"of {verb}")
            if not known and name != "verb":
                groups.setdefault(group, {})[name] = row
    yield from itertools.starmap(Table, groups.items())


def settings_rows(kind: type[Settings], prefix: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from settings_rows(field.annotation, f"{prefix}{name}.")
        elif field.is_required():
            yield prefix + name, (values(field.annotation), "")
        else:
            yield prefix + name, (values(field.annotation), plain(field.get_default(call_default_factory=True)))


def values(kind: Any) -> str:
    """What a setting may be, in a few letters."""
    inner = get_args(kind)
    if get_origin(kind) in (tuple, list):
        return f"[{', '.join(dict.fromkeys(values(each) for each in inner if each is not Ellipsis))}]"
    if get_origin(kind) is dict:
        return "{…}"
    if inner and all(isinstance(each, str) for each in inner):
        return " ".join(inner)
    if inner and hasattr(kind, "__metadata__"):
        return values(inner[0])
    if isinstance(kind, type) and issubclass(kind, Settings):
        return "{…}"
    if inner:
        return ", ".join(dict.fromkeys(values(each) for each in inner))
    names = {int: "int", float: "float", bool: "bool", str: "text", Path: "path", type(None): "null"}
    return names.get(kind, str(kind))


def plain(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(str, value))}]"
    return json.dumps(value) if value is None or isinstance(value, (bool, dict)) else str(value)


def error_table(language: str) -> Table:
    entries = catalogue().items()
    rows = {
        code: tuple(re.sub(r"\{(\w+)\}", r"‹\1›", entry[part][language]).strip() for part in ("title", "mend"))
        for code, entry in entries
    }
    return Table("errors", rows)


def replaced(name: str, text: str, fresh: Callable[[str], str]) -> str:
    """A page with what stands between a table's marks made anew from what stood there."""
    pattern = rf"(<!-- table: {re.escape(name)} -->\n)(.*?)(<!-- end -->)"
    assert re.search(pattern, text, re.DOTALL), f"no table {name}"
    return re.sub(pattern, lambda found: found[1] + fresh(found[2]) + found[3], text, flags=re.DOTALL)


def written(table: Table, old: str) -> str:
    """The table as it should stand; a person's column is kept, and `?` where there is none yet."""
    lines = old.strip().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    notes = {row[0].strip("` "): row[-1] for row in cells}
    head = "\n".join(old.strip().splitlines()[:2])
    rows = [
        f"| `{name}` | {' | '.join(f'`{cell}`' if cell else '' for cell in row)} | {notes.get(name, '?').strip()} |"
        for name, row in table.rows.items()
    ]
    return "\n".join([head, *rows]) + "\n"


def errors_written(table: Table, old: str) -> str:
    head = "\n".join(old.strip().splitlines()[:2])
    rows = [
        f"| {code} | {title.replace('|', chr(92) + '|')} | {mend.replace('|', chr(92) + '|')} |"
        for code, (title, mend) in table.rows.items()
    ]
    return "\n".join([head, *rows]) + "\n"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_tables_are_the_codes(language: str) -> None:
    for page, made in refreshed(language):
        text = page.read_text(encoding="utf8")
        assert text == made, f"{page.name} is stale; run: python tests/docs_test.py write"
        assert "| ? |" not in text, f"{page.name}: a setting has no explanation"


def refreshed(language: str) -> Iterator[tuple[Path, str]]:
    """The pages that hold tables, and how they should read."""
    page = DOCS / language / "settings.md"
    text = page.read_text(encoding="utf8")
    for table in settings_tables():
        text = replaced(table.name, text, lambda old, table=table: written(table, old))
    yield page, text
    page = DOCS / language / "errors.md"
    errors = error_table(language)
    yield page, replaced("errors", page.read_text(encoding="utf8"), lambda old: errors_written(errors, old))


# A place to work in


def sample_files(folder: Path) -> None:
    """What the pages call the reader's own files, small."""
    english, chinese = (
        "\n".join((DOCS / language / f"{name}.md").read_text(encoding="utf8") for name in ("architecture", "pretrain"))
        for language in ("en", "zh")
    )
    (folder / "my.txt").write_text(english, encoding="utf8")
    (folder / "test.txt").write_text(english[:1500], encoding="utf8")
    (folder / "novel.txt").write_text(chinese, encoding="utf8")
    (folder / "words.txt").write_text("corruption\n词元\n", encoding="utf8")
    (folder / "texts").mkdir()
    for name, text in (("one.txt", english[:3000]), ("two.md", english[3000:6000])):
        (folder / "texts" / name).write_text(text, encoding="utf8")
    rows = [("title", "review"), *((f"No. {number}", english[40 * number :][:80]) for number in range(60))]
    (folder / "reviews.csv").write_text(
        "\n".join(f'{title},"{re.sub(r"[^a-z ]", " ", text)}"' for title, text in rows), encoding="utf8"
    )
    pairs = [
        {"sentence_good": f"The {noun} sleep.", "sentence_bad": f"The {noun} sleeps.", "UID": "agreement"}
        for noun in ("cats", "dogs", "men", "birds")
    ]
    lines = "".join(json.dumps(pair) + "\n" for pair in pairs)
    (folder / "pairs.jsonl").write_text(lines, encoding="utf8")
    Image.new("RGB", (40, 30), "orange").save(folder / "cat.png")
    shutil.copytree(ROOT / "examples", folder / "examples")


def old_model(folder: Path) -> None:
    """A folder as it was published before safetensors: weights in a pickle."""
    family, config = fresh("bert-tiny", 300)
    texts = iter([(DOCS / "en/start.md").read_text(encoding="utf8")])
    tokenizer = train_tokenizer(texts, TokenizerSettings(kind="wordpiece", vocabulary=300), family.specials, QUIET)
    Checkpoint(family, config, build(config, "cpu", 0), tokenizer).save(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    for name in ("model.safetensors", "danlu.json", "golden.json", "golden.safetensors"):
        (folder / name).unlink()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docs")


@pytest.fixture(scope="module")
def danlu(workplace: Path) -> Iterator[dict[str, str]]:
    """An environment whose `danlu` and `python` are this project's, warm: importing torch once is enough."""
    place, home = workplace / "bin", workplace / "home"
    place.mkdir()
    home.mkdir()
    address = str(workplace / "s")
    for name in ("danlu", "python"):
        client = place / name
        client.write_text(f"#!{sys.executable} -SE\nNAME, ADDRESS = {name!r}, {address!r}\n{CLIENT}")
        client.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{place}:{os.environ['PATH']}", "HOME": str(home), "LC_ALL": "C.UTF-8", "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "COLUMNS": "120",
    }  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, __file__, "serve", address], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        yield environment
    finally:
        server.kill()
        server.wait()


CLIENT = """\
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect(ADDRESS)
call = json.dumps([NAME, os.getcwd(), sys.argv[1:]]).encode()
socket.send_fds(server, [call], [0, 1, 2])
answer = server.recv(1)
sys.exit(answer[0] if answer else 1)
"""


def serve(address: str) -> None:
    """Answer each call in a forked process that has everything imported already."""
    for module in (*(verb.module for verb in VERBS), "torch._dynamo"):  # what torch itself imports late
        import_module(module)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            client.send(bytes([answered(client)]))
            os._exit(0)
        client.close()
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def answered(client: socket.socket) -> int:
    """Do what a client asks for, with its standard streams, in its folder."""
    call, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    name, folder, words = json.loads(call)
    os.chdir(folder)
    status = 1
    try:
        status = main(words) if name == "danlu" else ran(sys.stdin.read())
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def ran(program: str) -> int:
    exec(compile(program, "page", "exec"), {"__name__": "__main__"})
    return 0


def write(pages: Iterable[tuple[Path, str]]) -> None:
    for page, text in pages:
        page.write_text(text, encoding="utf8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    elif sys.argv[1:] == ["write"]:
        write([*refreshed("en"), *refreshed("zh")])
    else:
        sys.exit(f"{__doc__}\n{yaml.dump(sorted(PAIRS))}")
