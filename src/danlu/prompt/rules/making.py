"""From a brief to prompts, by rules: no labels are looked at, no model is asked."""

from collections.abc import Iterator, Mapping

from danlu.prompt.notation import read_notation
from danlu.prompt.rules.brief import Brief
from danlu.prompt.rules.knowledge import Forms, Pattern, patterns
from danlu.prompt.spec import Phrase, PromptSpec, Verbaliser, distinct, parts_of
from danlu.prompt.spelling import Spelling

MOST = 200  # prompts
COMPOSED = {"en": "{text} This is about {mask}, namely {mask}.", "zh": "{text} 这是关于{mask}的，具体是{mask}。"}
BARE = {"en": "{text} {mask}", "zh": "{text} {mask}"}
COMPARES = ("dual", "pictures")


def bare(brief: Brief, model: str) -> PromptSpec:
    """The names of the labels and nothing else: what any rule has to beat. model: the kind of a scorer."""
    words = {name: (meaning,) for name, meaning in brief.labels.items()}
    return _spec(brief, model, (("{label}" if model in COMPARES else BARE[brief.language]),), words, ("bare",))


def with_line(brief: Brief, model: str, line: str) -> PromptSpec:
    """A template that a person wrote, with the words that fit best by the rules: names after a colon, words elsewhere.
    E2311 where it cannot be read."""
    named = line.rstrip().endswith(("{mask}", "{label}")) and line.rstrip()[:-6].rstrip(" {").endswith((":", "："))
    words = _words(brief.forms, ("names",) if named else ("words", "names"))["words:all"]
    return _spec(brief, model, (line,), words, ("by hand",))


def known_words(spec: PromptSpec, spelling: Spelling) -> PromptSpec:
    """The prompt without the phrases that a tokenizer has no tokens for, as long as a class has another."""
    words: dict[str, tuple[Phrase, ...]] = {}
    for name, phrases in spec.verbaliser.words.items():
        known = tuple(each for each in phrases if all(spelling.knows(part) for part in parts_of(each)))
        words[name] = known or phrases
    if words == spec.verbaliser.words:
        return spec
    told = spec.verbaliser.model_dump() | {"words": words}
    return spec.but(verbaliser=told, made_by=[*spec.made_by, "words:known"])


def prompts(brief: Brief, model: str) -> list[PromptSpec]:
    """Every prompt that the rules make for a kind of model, the bare one last; at most 200, no two alike."""
    plain = bare(brief, model)
    return [*distinct(spec for spec in _made(brief, model) if spec != plain)[: MOST - 1], plain]


def _made(brief: Brief, model: str) -> Iterator[PromptSpec]:
    fitting = [each for each in _patterns(brief) if _fits(each.template[brief.language], model, brief)]
    if model in COMPARES:
        yield from _ensembles(brief, model, fitting)
    for pattern in fitting:
        lines = (pattern.template[brief.language],)
        for rule, words in _words(brief.forms, pattern.say).items():
            yield _spec(brief, model, lines, words, (f"pattern:{pattern.name}", rule))
        if model == "causal" and lines[0].startswith("{mask}"):
            words = _words(brief.forms, pattern.say)["words:all"]
            channel = lines[0].replace("{mask}", "{label}")
            yield _spec(brief, model, (channel,), words, (f"pattern:{pattern.name}", "words:all", "channel"))
    if brief.parents:
        yield from _composed(brief, model)


def _patterns(brief: Brief) -> list[Pattern]:
    """Those of the kind, then those for any kind."""
    kinds = (brief.kind,) if brief.pair or brief.kind in ("any", "picture") else (brief.kind, "any")
    table = {pattern.template["en"]: pattern for kind in reversed(kinds) for pattern in patterns()[kind]}
    own = [pattern for kind in kinds for pattern in patterns()[kind]]
    return [pattern for pattern in own if table[pattern.template["en"]] is pattern]


def _fits(line: str, model: str, brief: Brief) -> bool:
    """Whether a model can answer a pattern: one that compares has no fields in its prompts, one that writes on has its
    answer behind the text, or weighs the text behind the answer."""
    fields = {segment.name for segment in read_notation(line) if segment.kind == "field"}
    if model in COMPARES:
        return not fields
    return bool(fields) and (fields == set(brief.fields))


def _words(forms: Mapping[str, Forms], say: tuple[str, ...]) -> dict[str, dict[str, tuple[Phrase, ...]]]:
    """Which words stand for the classes: all of the forms that fit, the first one alone, or the name."""
    every = {name: each.of(say) for name, each in forms.items()}
    return {
        "words:all": dict(every),
        "words:first": {name: found[:1] for name, found in every.items()},
        "words:name": {name: each.names[:1] for name, each in forms.items()},
    }


def _ensembles(brief: Brief, model: str, fitting: list[Pattern]) -> Iterator[PromptSpec]:
    """All patterns of the kind at once: the mean of their vectors."""
    own = [pattern for pattern in fitting if pattern.name.startswith(f"{brief.kind}.")]
    if len(own) > 1:
        say = tuple(dict.fromkeys(kind for pattern in own for kind in pattern.say))
        lines = tuple(pattern.template[brief.language] for pattern in own)
        yield _spec(brief, model, lines, _words(brief.forms, say)["words:all"], ("ensemble", "words:all"))


def _composed(brief: Brief, model: str) -> Iterator[PromptSpec]:
    """A label of two parts is asked for in two places (Han et al. 2021, PTR), or written as both."""
    if model in COMPARES:
        words: dict[str, tuple[Phrase, ...]] = {
            name: (f"{child} ({parent})", f"{parent}: {child}") for name, (parent, child) in brief.parents.items()
        }
        yield _spec(brief, model, ("{label}",), words, ("compose:both",))
    elif not brief.pair:
        parts: dict[str, tuple[Phrase, ...]] = {name: (both,) for name, both in brief.parents.items()}
        yield _spec(brief, model, (COMPOSED[brief.language],), parts, ("compose:two_masks",))


def _spec(
    brief: Brief, model: str, lines: tuple[str, ...], words: Mapping[str, tuple[Phrase, ...]], rules: tuple[str, ...]
) -> PromptSpec:  # fmt: skip
    """A prompt of these templates; a phrase that two classes share is left to the first, and a class without one is
    called by its name."""
    query = (
        ("" if model == "pictures" else " ".join(f"{{{name}}}" for name in brief.fields)) if model in COMPARES else ""
    )
    return PromptSpec(
        templates=lines, verbaliser=Verbaliser(words=_apart(brief, words)), language=brief.language,
        query=query, made_by=(*brief.rules, *rules),
    )  # fmt: skip


def _apart(brief: Brief, words: Mapping[str, tuple[Phrase, ...]]) -> dict[str, tuple[Phrase, ...]]:
    taken: set[Phrase] = set()
    found: dict[str, tuple[Phrase, ...]] = {}
    for name, phrases in words.items():
        own = tuple(phrase for phrase in phrases if phrase not in taken) or (brief.labels[name],)
        taken.update(own)
        found[name] = own
    return found
