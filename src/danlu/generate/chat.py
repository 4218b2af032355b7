"""Talking to a model in the terminal: one that was taught to answer answers and remembers what was said, another causal
one goes on with your text, a masked one fills your masks.

Lines come from any stream, so a pipe works as a keyboard does. Ctrl-C stops an answer, Ctrl-D leaves.
"""

from collections.abc import Iterable, Iterator
from typing import TextIO

from danlu.errors import DanluError
from danlu.generate.conversation import Conversation
from danlu.generate.decode import GenerateSettings
from danlu.generate.engine import Engine, Fill
from danlu.generate.gaps import has_gap
from danlu.settings import build, parse_yaml
from danlu.voice import Voice

# What may be set while talking: the command, the setting.
DIALS = {"/temperature": "temperature", "/top_k": "top_k", "/top_p": "top_p", "/penalty": "repetition_penalty",
         "/length": "max_new_tokens", "/beams": "beams", "/seed": "seed"}  # fmt: skip
EXAMPLES = "/temperature 0.8 · /top_k 50 · /top_p 0.95 · /penalty 1.1 · /length 64 · /beams 4 · /seed 0"
LIVELY = {"temperature": 0.8, "top_p": 0.95}  # what a conversation begins with: no two answers alike
BAR = 20  # characters of a probability of one


class Chat:
    """One conversation. Answers go to `out`; everything else is said by the voice. conversation: of a model that was
    taught to answer."""

    def __init__(
        self, engine: Engine, voice: Voice, out: TextIO, settings: GenerateSettings | None = None,
        conversation: Conversation | None = None,
    ):  # fmt: skip
        self.engine, self.voice, self.out, self.conversation = engine, voice, out, conversation
        self.settings = settings or build(GenerateSettings, LIVELY)
        self.turn = 0

    def run(self, lines: Iterable[str]) -> None:
        """Answer every line until there are no more, or one is /quit."""
        self.greet()
        for line in lines:
            text = line.rstrip("\n")
            if text.strip() in ("/quit", "/exit"):
                break
            if not text.strip():
                continue
            try:
                if text.startswith("/"):
                    self.command(text)
                else:
                    self.answer(text)
            except KeyboardInterrupt:
                print(file=self.out)
                self.voice.say("(stopped)", "（已停止）")
            except DanluError as error:
                self.voice.say(error.render("en"), error.render("zh"))

    def greet(self) -> None:
        if self.engine.kind == "masked":
            mask = self.engine.tokenizer.roles.get("mask", "[MASK]")
            self.voice.say(
                f"Write a sentence with {mask} in it; /help says more.",
                f"请输入含有 {mask} 的句子；输入 /help 查看帮助。",
            )
        elif self.conversation:
            self.voice.say(
                "Say something and the model answers; /help says more.", "请说点什么，模型会回答；输入 /help 查看帮助。"
            )
        elif self.engine.kind == "sequence_to_sequence":
            self.voice.say(
                "Write a text for the model to answer, or one with [MASK] where something is missing; /help says more.",
                "请输入要模型回应的文本，或在缺失处写上 [MASK]；输入 /help 查看帮助。",
            )
        else:
            self.voice.say(
                "Begin a text and the model goes on; /help says more.",
                "请写一个开头，模型会接着写；输入 /help 查看帮助。",
            )

    def answer(self, text: str) -> None:
        """Fill the masks of a line, answer it, or go on from it."""
        if self.engine.kind == "masked":
            for fills in self.engine.fill(text):
                print("\n".join(map(_bar, fills)), end="\n\n", file=self.out, flush=True)
            return
        if self.engine.kind == "sequence_to_sequence" and has_gap(text) and not self.conversation:
            print(self.engine.restore(text, **self.settings.model_dump()), file=self.out, flush=True)
            return
        seeded = self.settings.model_dump() | {"seed": self.settings.seed + self.turn}
        self.turn += 1
        prompt: str | list[int] = text
        if self.conversation:
            prompt, seeded["max_new_tokens"] = self.conversation.ask(text, self.settings.max_new_tokens)
        said = ""
        for piece in self._pieces(prompt, seeded):
            print(piece, end="", file=self.out, flush=True)
            said += piece
        print(file=self.out, flush=True)
        if self.conversation:
            self.conversation.heard(text, said.strip())

    def command(self, line: str) -> None:
        """Show help, show the settings, or change one."""
        name, _, value = line.strip().partition(" ")
        if name in DIALS and value.strip():
            self.settings = build(
                GenerateSettings, self.settings.model_dump(), {DIALS[name]: parse_yaml(value)}, where="chat"
            )
            self.turn = 0
        elif name == "/new" and self.conversation:
            self.conversation.begin(value.strip())
            self.turn = 0
            self.voice.say("(a new conversation)", "（开始新的对话）")
            return
        elif name not in DIALS and name not in ("/help", "/settings"):
            known = ["/help", "/settings", "/quit", *(["/new"] if self.conversation else []), *DIALS]
            raise DanluError("E1808", found=name, possible=known)
        if name == "/help":
            self.voice.say(
                f"{EXAMPLES}: how it writes\n/settings shows them · /quit or Ctrl-D leaves · Ctrl-C stops an answer",
                f"{EXAMPLES}：控制写法\n/settings 查看当前设置 · /quit 或 Ctrl-D 退出 · Ctrl-C 停止当前回答",
            )
            if self.conversation:
                self.voice.say("/new forgets what was said; /new Be brief. tells it how to behave",
                               "/new 忘记此前的对话；/new 请简短回答 可说明模型应如何表现")  # fmt: skip
        else:
            shown = ", ".join(f"{dial} {getattr(self.settings, setting)}" for dial, setting in DIALS.items())
            self.voice.say(shown, shown)

    def _pieces(self, prompt: str | list[int], settings: dict[str, object]) -> Iterator[str]:
        if self.settings.beams > 1:
            ids = self.engine.prompt(prompt) if isinstance(prompt, str) else prompt
            yield self.engine.continued(ids, self.engine.write([ids], build(GenerateSettings, settings))[0])
        else:
            yield from self.engine.stream(prompt, **settings)


def keyboard(prompt: str = "› ") -> Iterator[str]:
    """Lines typed by a person, until Ctrl-D; Ctrl-C clears the line."""
    while True:
        try:
            yield input(prompt)
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return


def talk(
    engine: Engine, voice: Voice, source: TextIO, out: TextIO, settings: GenerateSettings | None = None,
    conversation: Conversation | None = None,
) -> None:  # fmt: skip
    """Chat with whoever is at `source`: a person at a terminal, or the lines of a pipe."""
    chat = Chat(engine, voice, out, settings, conversation)
    chat.run(keyboard() if source.isatty() else source)


def _bar(fill: Fill) -> str:
    return f"  {fill.probability:6.1%}  {'█' * max(1, round(fill.probability * BAR)):<{BAR}}  {fill.token}"
