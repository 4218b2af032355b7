"""`danlu chat START [TEXT]`: complete text, fill masks."""

import sys

from pydantic import Field

from danlu.generate.chat import LIVELY, Chat, talk
from danlu.generate.decode import GenerateSettings
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.starting.start import load_engine


class ChatVerb(Common):
    """tokens: how many to write; temperature, top_k, top_p: how they are drawn; dtype: of the weights."""

    tokens: int = Field(100, ge=1)
    temperature: float = Field(LIVELY["temperature"], ge=0)
    top_k: int | None = Field(None, ge=1)
    top_p: float = Field(LIVELY["top_p"], gt=0, le=1)
    dtype: str | None = None


def chat(call: Call) -> Answer:
    """The verb: a conversation, or one answer where TEXT is given."""
    settings = call.build(ChatVerb)
    start, text = call.take("START", "TEXT", optional=1)
    assert start
    if call.dry_run:
        return call.rehearse(settings)
    drawn = {
        "temperature": settings.temperature,
        "top_k": settings.top_k,
        "top_p": settings.top_p,
        "seed": settings.seed,
    }
    how = GenerateSettings(
        max_new_tokens=settings.tokens, **{name: value for name, value in drawn.items() if value is not None}
    )
    engine = load_engine(start, settings.device, settings.dtype)
    if text is None:
        talk(engine, call.voice, sys.stdin, sys.stdout, how)
        return Answer()
    Chat(engine, call.voice, sys.stdout, how).answer(text)
    return Answer()
