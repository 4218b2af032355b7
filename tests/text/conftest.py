"""Texts a tokenizer must get right: every script of the world at hand, and strings made to annoy."""

import random
from pathlib import Path

import pytest

POOLS = [
    "abc XYZ",
    "  \t\n",
    "你好，世界！。、",
    "😀👍🎉",
    "0123456789",
    "ﬁﾊﾝｶｸ①½",
    "עברית",
    "\x00\x01\x7f",
    "한국어 조합",
    "éàüñ",
]
SENTENCES = [
    "Hello world, this is a test.", "  two  spaces and\ttab", "Émile's naïve café — 50€ (approx.)", "I'll've", "",
    "你好，世界！今天天气很好。", "def f(x):\n    return x**2", "emoji 😀👍 test", "COVID-19 in 2020/2021",
    "\n\n", " " * 50,
]  # fmt: skip


@pytest.fixture(scope="session")
def odd_texts() -> list[str]:
    """1,000 strings of many scripts, spaces and controls; without combining marks (see sentencepiece_test)."""
    draw = random.Random(0)
    return SENTENCES + [
        "".join(draw.choice(draw.choice(POOLS)) for _ in range(draw.randint(0, 40))) for _ in range(1_000)
    ]


@pytest.fixture
def shared() -> Path:
    """Real data beside the project; a test that wants it skips where it is absent."""
    place = Path(__file__).parents[2].parent / "shared"
    if not place.is_dir():
        pytest.skip("../shared is absent")
    return place


@pytest.fixture
def world_texts(shared: Path) -> list[str]:
    """Ten lines of the Declaration of Human Rights in every language at hand."""
    texts = []
    for path in sorted((shared / "data/udhr").glob("*.txt")):
        lines = [line for line in path.read_text("utf8").splitlines() if line.strip()]
        texts += lines[:: max(1, len(lines) // 10)]
    return texts


@pytest.fixture
def published(shared: Path) -> Path:
    return shared / "weights/tokenizers"
