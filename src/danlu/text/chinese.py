"""Chinese words, by the jieba segmenter where it is installed (extra `zh`)."""

import logging
from functools import cache
from importlib.util import find_spec
from typing import Any

from danlu.errors import DanluError


def words(text: str) -> list[str]:
    """The text cut into words; joined they are the text again. E1307 where no segmenter is installed."""
    return [str(word) for word in _segmenter().cut(text)]


@cache
def _segmenter() -> Any:
    if find_spec("jieba") is None:
        raise DanluError("E1307")
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba.Tokenizer()
