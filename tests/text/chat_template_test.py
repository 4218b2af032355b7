"""Conversations as text: equal to transformers, and nothing can be run."""

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from danlu.errors import DanluError
from danlu.text.chat import DIRECT, PLAIN, ChatTemplate, Message

TALK = [
    Message("system", "Be brief."), Message("user", "1 + 1?"), Message("assistant", "2"), Message("user", "再加一？"),
    Message("assistant", "3"),
]  # fmt: skip
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>'"
    " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INSTRUCT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + eos_token }}{% elif loop.index0 > 0 %}{{ raise_exception('system first') }}"
    "{% endif %}{% endfor %}"
)
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("source", [CHATML, INSTRUCT, PLAIN, DIRECT], ids=["chatml", "instruct", "plain", "direct"])
def test_templates_render_as_in_transformers(source: str) -> None:
    theirs = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")), **NAMES)
    theirs.chat_template = source
    ours = ChatTemplate(source, NAMES)
    plain = [message._asdict() for message in TALK]
    for count, ask in ((5, False), (4, True), (2, True)):
        expected = theirs.apply_chat_template(plain[:count], tokenize=False, add_generation_prompt=ask)
        assert ours.render(TALK[:count], ask) == expected


@pytest.mark.parametrize("source", [CHATML, INSTRUCT, PLAIN, DIRECT], ids=["chatml", "instruct", "plain", "direct"])
def test_stretches_are_the_text_and_answers_are_marked(source: str) -> None:
    template = ChatTemplate(source, NAMES)
    parts = template.stretches(TALK)
    assert "".join(part.text for part in parts) == template.render(TALK)
    answers = [part.text for part in parts if part.answered]
    assert ["2" in answers[0], "3" in answers[1]] == [True, True]
    assert len(answers) == 2
    assert not any("1 + 1" in answer or "再" in answer for answer in answers)


@pytest.mark.parametrize(
    "source",
    ["{% for x in %}", "{{ messages.append(1) }}", "{{ ''.__class__.__mro__ }}", "{{ raise_exception('no') }}",
     "{% for a in range(10**9) %}x{% endfor %}", "{{ 1 / 0 }}", "x" * 70_000],
    ids=["syntax", "change", "escape", "refusal", "endless", "arithmetic", "long"],
)  # fmt: skip
def test_bad_templates_are_numbered_errors(source: str) -> None:
    with pytest.raises(DanluError) as caught:
        ChatTemplate(source, NAMES).render(TALK)
    assert caught.value.code == "E1310"


def test_a_template_that_rewrites_what_was_said_is_refused() -> None:
    with pytest.raises(DanluError) as caught:
        ChatTemplate("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}", NAMES).stretches(TALK)
    assert caught.value.code == "E1310"
