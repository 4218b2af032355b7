"""The rules of the house: who may import whom, how long a file may be, what may not be written at all."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src/danlu"
# A room may import from the rows above its own, and from itself.
ROWS = (
    ("errors",), ("settings", "files", "voice"), ("kernels",), ("nn", "text"), ("vision",), ("models",),
    ("adapt", "compress"), ("checkpoint",), ("data",), ("tasks",), ("generate", "train"), ("evaluate",),
    ("prompt", "serve", "export"), ("report",), ("recipes",), ("cli",), ("__init__",), ("__main__",),
)  # fmt: skip
RANK = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
FILES = sorted(SOURCE.rglob("*.py"))
FORBIDDEN_CALLS = {"eval", "exec", "compile"}
FORBIDDEN_NAMES = {"pickle", "trust_remote_code", "shell"}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def danlu_imports(tree: ast.AST) -> list[str]:
    """The rooms a syntax tree imports from."""
    found = []
    for node in ast.walk(tree):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            if module == "danlu":
                found += [alias.name for alias in node.names]
            elif module.startswith("danlu."):
                found.append(module.split(".")[1])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_rules(path: Path) -> None:
    text = path.read_text(encoding="utf8")
    tree = ast.parse(text)
    here = room(path)
    assert here in RANK, f"{here} has no row"
    for other in danlu_imports(tree):
        assert other == here or RANK.get(other, -1) < RANK[here], f"{here} may not import {other}"
    if here not in ("cli", "__init__"):  # these two put off heavy imports on purpose
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert not danlu_imports(function), f"{function.name} imports danlu inside a function"
    assert len(text.splitlines()) <= 400, "over 400 lines"
    if "families" not in path.parts:
        assert "model_type ==" not in text
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, f"line {node.lineno}: {node.func.id}()"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not FORBIDDEN_NAMES & set(names), f"line {node.lineno}"
        if isinstance(node, ast.keyword):
            assert node.arg not in FORBIDDEN_NAMES, f"line {node.lineno}: {node.arg}"


def test_no_utils() -> None:
    assert not [path for path in SOURCE.rglob("*") if path.stem in ("utils", "util", "helpers", "common", "misc")]
