import io

import pytest

from danlu.voice import Voice, _Lines, clock, system_language


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_language_at_a_time() -> None:
    for language, said in (("en", "hello\n"), ("zh", "你好\n")):
        stream = io.StringIO()
        Voice(language, stream).say("hello", "你好")
        assert stream.getvalue() == said


def test_facts_are_results(capsys: pytest.CaptureFixture[str]) -> None:
    Voice("en", io.StringIO()).fact("loss", 3)
    Voice("zh", io.StringIO(), quiet=True).fact("损失", 3)
    assert capsys.readouterr().out == "loss: 3\n损失：3\n"


def test_quiet() -> None:
    stream = io.StringIO()
    for voice in (Voice("en", stream, quiet=True), Voice("en", stream).silenced()):
        voice.say("hello", "你好")
        with voice.progress("work", "工作", 3) as bar:
            bar.advance(1, "note")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"), ({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LC_MESSAGES": "zh_TW.UTF-8", "LANG": "de_DE.UTF-8"}, "zh"), ({"LANG": "fr_FR.UTF-8"}, "en"),
    ],
)  # fmt: skip
def test_the_locale(variables: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert system_language() == language


def test_plain_lines_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with Voice("en", stream).progress("reading", "读取", 100) as bar:
        for _ in range(100):
            bar.advance(1, "half")
    assert stream.getvalue() == "reading  100%  half\n"
    monkeypatch.setattr(_Lines, "every", 0.0)
    stream = io.StringIO()
    with Voice("zh", stream).progress("reading", "读取", None) as bar:
        bar.advance(5)
        bar.advance(5, "x")
    assert stream.getvalue().splitlines() == ["读取  5  ", "读取  10  x"]


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    with Voice("en", stream).progress("reading", "读取", 10) as bar:
        bar.advance(10, "a note")
    assert "reading" in stream.getvalue()
    assert "100%" in stream.getvalue()
    assert "a note" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00"), (7, "0:07"), (200, "3:20"), (3900, "1:05:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
