import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from danlu.errors import DanluError, Language
from danlu.generate.chat import Chat, talk
from danlu.generate.conversation import Conversation, conversation_of
from danlu.generate.decode import GenerateSettings
from danlu.generate.engine import Engine
from danlu.text.chat import ChatTemplate, Message
from danlu.voice import Voice

EngineOf = Callable[[str], Engine]
SHORT = GenerateSettings(max_new_tokens=6)


def said(
    engine: Engine, lines: str, language: Language = "en", settings: GenerateSettings | None = SHORT
) -> tuple[str, str]:
    """What a conversation over a pipe writes to its output, and what the voice says beside it."""
    prose, out = io.StringIO(), io.StringIO()
    talk(engine, Voice(language, prose), io.StringIO(lines), out, settings)
    return out.getvalue(), prose.getvalue()


def test_a_causal_model_goes_on(engine_of: EngineOf) -> None:
    engine = engine_of("gpt2")
    out, _ = said(engine, "The cat\n\nThe rain\n")
    assert out == "".join(engine.generate(text, max_new_tokens=6) + "\n" for text in ("The cat", "The rain"))


def test_a_masked_model_fills(engine_of: EngineOf) -> None:
    engine = engine_of("bert")
    out, _ = said(engine, "The [MASK] sleeps.\n")
    for fill in engine.fill("The [MASK] sleeps.")[0]:
        assert fill.token in out
        assert f"{fill.probability:.1%}" in out


def test_an_encoder_decoder_answers(engine_of: EngineOf) -> None:
    engine = engine_of("t5")
    assert said(engine, "The cat\n")[0] == engine.generate("The cat", max_new_tokens=6) + "\n"


def test_settings_change_while_talking(engine_of: EngineOf) -> None:
    engine = engine_of("gpt2")
    out, prose = said(engine, "/length 3\n/beams 2\nThe cat\n/settings\n")
    assert out == engine.generate("The cat", max_new_tokens=3, beams=2) + "\n"
    assert "/length 3" in prose
    assert "/beams 2" in prose


def test_sampled_answers_differ_from_turn_to_turn_but_not_from_chat_to_chat(engine_of: EngineOf) -> None:
    out, _ = said(engine_of("gpt2"), "The cat\n" * 4, settings=None)
    assert len(set(out.splitlines())) > 1
    assert out == said(engine_of("gpt2"), "The cat\n" * 4, settings=None)[0]


@pytest.mark.parametrize(("language", "words"), [("en", "Ctrl-D leaves"), ("zh", "Ctrl-D 退出")])
def test_help_in_both_languages(engine_of: EngineOf, language: Language, words: str) -> None:
    assert words in said(engine_of("gpt2"), "/help\n", language)[1]


@pytest.mark.parametrize(
    ("line", "code"), [("/temprature 1", "E1808"), ("/temperature -1", "E1102"), ("/top_p x", "E1102")]
)
def test_a_mistake_is_told_and_the_talk_goes_on(engine_of: EngineOf, line: str, code: str) -> None:
    out, prose = said(engine_of("gpt2"), f"{line}\nThe cat\n")
    assert code in prose
    assert out.strip()


def test_quit_leaves(engine_of: EngineOf) -> None:
    assert said(engine_of("gpt2"), "/quit\nThe cat\n")[0] == ""


def test_ctrl_c_stops_the_answer_and_not_the_chat(engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(text: str, **_: object) -> Iterator[str]:
        yield f"{text} half"
        raise KeyboardInterrupt

    engine = engine_of("gpt2")
    monkeypatch.setattr(engine, "stream", interrupted)
    prose, out = io.StringIO(), io.StringIO()
    Chat(engine, Voice("en", prose), out, SHORT).run(["one\n", "two\n"])
    assert out.getvalue() == "one half\ntwo half\n"
    assert prose.getvalue().count("(stopped)") == 2


TALKS = {"task": "chat"}


def taught(engine: Engine, **lineage: object) -> Conversation:
    found = conversation_of(replace(engine.checkpoint, lineage=lineage or TALKS))
    assert found
    return found


def test_a_model_that_was_taught_to_answer_remembers_what_was_said(engine_of: EngineOf) -> None:
    engine, out = engine_of("gpt2"), io.StringIO()
    conversation = taught(engine)
    chat = Chat(engine, Voice("en", io.StringIO()), out, SHORT, conversation)
    chat.run(["The cat\n", "The rain\n"])
    assert [message.role for message in conversation.said] == ["user", "assistant"] * 2
    assert out.getvalue().splitlines()[-1].strip() == conversation.said[-1].content
    conversation.begin()
    conversation.heard("a", "b")
    asked = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    prompt = engine.tokenizer.encode(ChatTemplate.of(engine.tokenizer).render(asked, ask=True))
    assert conversation.ask("c", 2)[0][-len(prompt) :] == prompt
    chat.command("/new Be kind.")
    assert conversation.said == [Message("system", "Be kind.")]


def test_the_earliest_turns_make_room(engine_of: EngineOf) -> None:
    conversation = taught(engine_of("gpt2"))
    conversation.begin("Be kind.")
    conversation.paper = replace(conversation.paper, room=150)
    for number in range(50):
        conversation.heard(f"question {number}", f"answer {number}")
    ids, length = conversation.ask("The last one", 8)
    text = engine_of("gpt2").tokenizer.decode(ids)
    assert len(ids) + length <= conversation.paper.room
    assert text.startswith("system:\nBe kind.")
    assert "The last one" in text
    assert "question 0\n" not in text


def test_a_translator_answers_each_text_by_itself_and_as_it_was_asked(engine_of: EngineOf) -> None:
    conversation = taught(engine_of("t5"), task="translate", prompt="to German: {source}")
    first = conversation.ask("The cat", 8)
    conversation.heard("The cat", "Die Katze")
    assert conversation.ask("The cat", 8) == first
    assert "to German: The cat" in engine_of("t5").tokenizer.decode(first[0])


def test_who_goes_on_and_who_answers(engine_of: EngineOf) -> None:
    plain = engine_of("gpt2").checkpoint
    assert conversation_of(plain) is None
    assert conversation_of(plain, talks=True)
    assert conversation_of(replace(plain, lineage=TALKS), talks=False) is None
    assert conversation_of(engine_of("bert").checkpoint, talks=True) is None


def test_a_conversation_in_python(engine_of: EngineOf) -> None:
    engine = Engine(replace(engine_of("gpt2").checkpoint, lineage=TALKS))
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    conversation = taught(engine_of("gpt2"))
    conversation.heard("a", "b")
    (ids,) = engine.write([conversation.ask("c", 4)[0]], GenerateSettings(max_new_tokens=4))
    assert engine.reply(talk, max_new_tokens=4) == engine.tokenizer.decode(ids).strip()
    assert engine.reply("c", max_new_tokens=4) == engine.reply(talk[2:], max_new_tokens=4)
    with pytest.raises(DanluError, match="E1802"):
        engine_of("bert").reply("c")
