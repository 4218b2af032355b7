"""`danlu chat START [TEXT]`: answer, complete text, fill masks."""

import sys
from pathlib import Path

from pydantic import Field

from danlu.generate.chat import LIVELY, Chat, talk
from danlu.generate.conversation import conversation_of
from danlu.generate.decode import GenerateSettings
from danlu.generate.seeing import Seer
from danlu.prompt.prompter import Prompter
from danlu.recipes.prompting.opening import holds_prompt, open_prompt
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.starting.start import load_engine
from danlu.settings import build
from danlu.voice import Voice


class ChatVerb(Common):
    """tokens: how many to write; temperature, top_k, top_p: how they are drawn; dtype: of the weights. talk: answer, by
    the model's chat template, rather than go on; where not given, a model that was taught to answer does. system: how
    it shall behave. prompt: the file of one, by which texts are classified instead. picture: what is asked about, of
    a model that sees."""

    tokens: int = Field(100, ge=1)
    temperature: float = Field(LIVELY["temperature"], ge=0)
    top_k: int | None = Field(None, ge=1)
    top_p: float = Field(LIVELY["top_p"], gt=0, le=1)
    dtype: str | None = None
    talk: bool | None = None
    system: str = ""
    prompt: Path | None = None
    picture: Path | None = None


def chat(call: Call) -> Answer:
    """The verb: a conversation, or one answer where TEXT is given."""
    settings = call.build(ChatVerb)
    start, text = call.take("START", "TEXT", optional=1)
    assert start
    if call.dry_run:
        return call.rehearse(settings)
    if settings.prompt or holds_prompt(start):
        sort_out(open_prompt(start, settings.prompt, settings.device), text, call.voice)
        return Answer()
    drawn = {name: getattr(settings, name) for name in ("temperature", "top_k", "top_p", "seed")}
    told = {name: value for name, value in drawn.items() if value is not None}
    how = build(GenerateSettings, {"max_new_tokens": settings.tokens} | told)
    engine = load_engine(start, settings.device, settings.dtype)
    if settings.picture:
        surest = how.model_copy(update={"temperature": 0.0})
        look_at(Seer(engine.checkpoint), settings.picture, text, surest, call.voice)
        return Answer()
    conversation = conversation_of(engine.checkpoint, settings.talk)
    if conversation:
        conversation.begin(settings.system)
    if text is None:
        talk(engine, call.voice, sys.stdin, sys.stdout, how, conversation)
        return Answer()
    Chat(engine, call.voice, sys.stdout, how, conversation).answer(text)
    return Answer()


def look_at(seer: Seer, picture: Path, text: str | None, how: GenerateSettings, voice: Voice) -> None:
    """The likeliest answer to a question about a picture or film, or to one after the other as they are typed: `?`
    describes it, `/picture FILE` takes another, an empty line ends. E2201 to E2212."""
    seen = [seer.numbers(picture)]
    if text is None:
        voice.say(
            "Ask about the picture; ? describes it, /picture FILE shows another, an empty line ends.",
            "请就图片提问；? 描述图片，/picture 文件 换一张，空行结束。",
        )
    for line in [text] if text is not None else iter(lambda: sys.stdin.readline().strip(), ""):
        if line.startswith("/picture "):
            seen = [seer.numbers(Path(line.removeprefix("/picture ").strip()))]
            continue
        print(seer.answers(seen, ["" if line == "?" else line], how)[0], flush=True)


def sort_out(prompter: Prompter, text: str | None, voice: Voice) -> None:
    """The class of a text, or of one text after the other as they are typed; an empty line ends it."""
    if text is None:
        voice.say("Type a text, and its class is told; an empty line ends.", "输入一段文本，给出其类别；空行结束。")
    for line in [text] if text is not None else iter(lambda: sys.stdin.readline().strip(), ""):
        reply = prompter.classify(line)
        shares = sorted(reply.scores.items(), key=lambda pair: -pair[1])
        print(f"{reply.value}  " + "  ".join(f"{name} {share:.1%}" for name, share in shares[:5]), flush=True)
