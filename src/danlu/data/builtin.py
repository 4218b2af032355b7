"""Text that every installation has, without a network: `builtin:NAME` among the data paths.

Python's own library and the packages Danlu stands on bring megabytes of careful English in their docstrings, and as
much code. It is read from the source files by `ast`; nothing is imported or run. The bilingual sentences are our own.
"""

import ast
import hashlib
import inspect
import itertools
import json
import keyword
import os
import re
import sys
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from danlu.errors import DanluError, nearest
from danlu.files import replace_file

PREFIX = "builtin:"
PACKAGES = ("numpy", "sklearn", "scipy", "torch")  # read in this order until there is enough
PROSE_BYTES = 2 << 20
LEFT_OUT = {"test", "tests", "testing", "site-packages", "idlelib", "lib2to3", "turtledemo", "pydoc_data", "_vendor"}
LONGEST_FILE = 1 << 20
SHORTEST_SENTENCE, LONGEST_SENTENCE, LONGEST_SOURCE = 25, 200, 1500  # characters
PER_CLASS, PER_FILE = 600, 12  # rows
FEWEST_TOKENS, MOST_TOKENS = 5, 40  # of a line of code
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Docstring(NamedTuple):
    """`name` is what is documented, empty for the module itself; `text` is cleaned of indentation."""

    module: str
    name: str
    text: str


def builtin_file(name: str, folder: Path) -> Path:
    """A JSONL file with a `text` column, made once a Python version. E1215 for an unknown name."""
    if name not in BUILTIN:
        raise DanluError("E1215", name=name, possible=list(BUILTIN), nearest=nearest(name, BUILTIN))
    made_of = f"{sys.version} {inspect.getsource(sys.modules[__name__])}"
    path = folder / f"{name}-{hashlib.sha256(made_of.encode()).hexdigest()[:8]}.jsonl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in BUILTIN[name]()))
    return path


def english() -> Iterator[dict[str, Any]]:
    """About 2 MB of English prose, one module a document: its docstrings' sentences, without tables and examples."""
    size = 0
    seen: set[str] = set()
    for module, group in itertools.groupby(docstrings(), lambda docstring: docstring.module):
        found = [each for docstring in group for each in paragraphs(docstring.text)]
        fresh = [each for each in dict.fromkeys(found) if each not in seen]
        seen.update(fresh)
        if fresh:
            text = "\n\n".join(fresh)
            yield {"text": text, "name": module}
            size += len(text.encode())
        if size >= PROSE_BYTES:
            return


def python() -> Iterator[dict[str, Any]]:
    """The standard library's source code, one file a document."""
    for module, path in modules(standard_library()):
        try:
            text = path.read_text(encoding="utf8")
        except UnicodeDecodeError:
            continue
        yield {"text": text, "name": module}


def bilingual() -> Iterator[dict[str, Any]]:
    """English sentences with their Chinese translations."""
    for row in samples("bilingual"):
        yield {"text": f"{row['en']}\n{row['zh']}", **row}


def packages() -> Iterator[dict[str, Any]]:
    """What a function or class does, in a sentence, and whose it is: five classes, as many rows of each."""
    found: dict[str, dict[str, None]] = {}
    for docstring in docstrings():
        package = docstring.module.partition(".")[0]
        label = package if package in PACKAGES else "python"
        sentence = " ".join(docstring.text.partition("\n\n")[0].split())
        if docstring.name and SHORTEST_SENTENCE <= len(sentence) <= LONGEST_SENTENCE:
            found.setdefault(label, {}).setdefault(sentence)
    said = Counter(sentence for sentences in found.values() for sentence in sentences)
    alone = {label: [each for each in sentences if said[each] == 1] for label, sentences in found.items()}
    rows = min(PER_CLASS, *map(len, alone.values()))
    for place in range(rows):
        for label, sentences in alone.items():
            yield {"text": sentences[place * len(sentences) // rows], "label": label}


def summaries() -> Iterator[dict[str, Any]]:
    """What a docstring says at length, and the line that sums it up."""
    seen: set[str] = set()
    for docstring in docstrings():
        first, _, rest = docstring.text.partition("\n\n")
        target, source = " ".join(first.split()), " ".join(paragraphs(rest))
        fits = SHORTEST_SENTENCE <= len(target) <= LONGEST_SENTENCE and 2 * len(target) < len(source) <= LONGEST_SOURCE
        if fits and target not in seen:
            seen.add(target)
            yield {"source": source, "target": target}


def tokens() -> Iterator[dict[str, Any]]:
    """Lines of the standard library's code, cut into tokens, and the kind of each."""
    seen: set[tuple[str, ...]] = set()
    for _, path in modules(standard_library()):
        line: list[tuple[str, str]] = []
        kept = 0
        try:
            with tokenize.open(path) as file:
                for token in tokenize.generate_tokens(file.readline):
                    if token.type == tokenize.NEWLINE:
                        words = tuple(word for word, _ in line)
                        if FEWEST_TOKENS <= len(words) <= MOST_TOKENS and words not in seen and kept < PER_FILE:
                            seen.add(words)
                            kept += 1
                            yield {"tokens": list(words), "tags": [kind for _, kind in line]}
                        line = []
                    elif token.string.strip() and " " not in token.string:
                        line.append((token.string, _kind(token)))
        except (SyntaxError, UnicodeDecodeError, tokenize.TokenError):
            continue


def _kind(token: tokenize.TokenInfo) -> str:
    if keyword.iskeyword(token.string):
        return "keyword"
    return {tokenize.NAME: "name", tokenize.OP: "operator", tokenize.NUMBER: "number", tokenize.STRING: "string"}.get(
        token.type, "comment"
    )


BUILTIN: Mapping[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "english": english,
    "python": python,
    "bilingual": bilingual,
    "packages": packages,
    "summaries": summaries,
    "tokens": tokens,
}


def samples(name: str) -> list[dict[str, Any]]:
    """The rows of one of the small data sets that come with Danlu."""
    text = files("danlu.data").joinpath("samples", f"{name}.jsonl").read_text(encoding="utf8")
    return [json.loads(line) for line in text.splitlines()]


def docstrings() -> Iterator[Docstring]:
    """Every docstring of the standard library, then of the packages, in a fixed order."""
    for root in (standard_library(), *filter(None, map(package_folder, PACKAGES))):
        for module, path in modules(root):
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):  # the library keeps a few broken files to test its parser with
                continue
            yield from _docstrings_in(tree, module)


def _docstrings_in(node: Documented, module: str) -> Iterator[Docstring]:
    if text := ast.get_docstring(node):
        yield Docstring(module, "" if isinstance(node, ast.Module) else node.name, text)
    for inner in node.body:  # definitions stand in bodies; walking every expression takes several times as long
        if isinstance(inner, Documented):
            yield from _docstrings_in(inner, module)


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a docstring that are sentences, their line ends turned into spaces."""
    found = []
    for block in re.split(r"\n\s*\n", text):
        joined = " ".join(block.split())
        letters = sum(character.isalpha() or character == " " for character in joined)
        is_sentence = re.search(r"[a-z]{2}[.!?:]( |$)", joined) and joined[:1].isalpha() and " " in joined
        is_set = re.search(r"^\s*(>>>|\.\.|[-=~*^]{3,}|\w+ : |@)|``` |\n {4,}\S+ {3,}|\|", block, re.MULTILINE)
        if is_sentence and not is_set and len(joined) >= 40 and letters > 0.9 * len(joined):
            found.append(joined)
    return found


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """(dotted name, source file) of everything below a package or library folder, tests left out, sorted."""
    above = () if root == standard_library() else (root.name,)
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(set(inner) - LEFT_OUT)
        for path in (Path(folder, name) for name in sorted(names) if name.endswith(".py")):
            if 0 < path.stat().st_size < LONGEST_FILE:
                parts = (*above, *path.relative_to(root).with_suffix("").parts)
                yield ".".join(part for part in parts if part != "__init__"), path


def standard_library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def package_folder(name: str) -> Path | None:
    """Where an installed package's files lie, found without importing it."""
    spec = find_spec(name)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None
