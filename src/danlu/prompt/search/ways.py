"""The ways of searching, by name: what of a prompt each changes, and how."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.prompt.search.asking import Propose, asked
from danlu.prompt.search.choosing import Choice, learnt_policy, place_by_place
from danlu.prompt.search.context import written_by
from danlu.prompt.search.demonstrations import Shown, demonstrations
from danlu.prompt.search.drawing import at_random, in_order
from danlu.prompt.search.edits import Thesaurus, edited, edits
from danlu.prompt.search.evolution import crossed, crossing, evolve
from danlu.prompt.search.filling import written
from danlu.prompt.search.gradients import promising, with_triggers
from danlu.prompt.search.ground import Candidate, Ground
from danlu.prompt.search.harness import Score, Searcher
from danlu.prompt.search.pieces import Pieces, cut, holes, is_hole, joined
from danlu.prompt.search.triggers import Tokens, triggers
from danlu.prompt.search.vectors import Numbers, evolution_strategy
from danlu.prompt.search.vocabulary import Answer, Vocabulary, label_options, synonyms
from danlu.prompt.spec import Demonstration, PromptSpec

Kind = Literal[
    "words", "demonstrations", "edits", "triggers", "soft", "fill", "evolution", "ask", "policy", "random", "rules"
]
MutatorName = Literal["rules", "model"]
S = TypeVar("S")


@dataclass(frozen=True)
class Means:
    """What a way may use beside its ground. answer: remembers what models say (`Ledger.answer`). options: label words a
    class. shown: demonstrations a class. vectors: soft vectors, or triggers. numbers: that these are moved by. mutator:
    who says what may stand in a word's place. writer: an encoder–decoder that writes templates. propose: somebody to
    ask. prompts: a list to try, the likeliest first."""

    answer: Answer
    options: int = 8
    shown: int = 1
    vectors: int = 5
    numbers: int = 20
    mutator: MutatorName = "rules"
    writer: Checkpoint | None = None
    propose: Propose | None = None
    prompts: Sequence[PromptSpec] = ()


def mapped(searcher: Searcher[S], make: Callable[[S], Candidate]) -> Searcher[Candidate]:
    """A searcher of something that prompts are made of, as a searcher of prompts."""
    batch = next(searcher)
    while True:
        scores: Sequence[Score] = yield [make(each) for each in batch]
        try:
            batch = searcher.send(scores)
        except StopIteration:
            return


def of_words(ground: Ground, means: Means) -> Searcher[Candidate]:
    """Other label words."""
    options = label_options(ground, Vocabulary(ground.scorer), means.answer, means.options)

    def make(choice: Choice) -> Candidate:
        chosen = zip(ground.hand.classes, options, choice, strict=True)
        words = {name: (each[number],) for name, each, number in chosen}
        verbaliser = ground.hand.verbaliser.model_dump() | {"words": words}
        return Candidate(marked(ground.hand.but(verbaliser=verbaliser), "words"))

    return mapped(place_by_place(options, (0,) * len(options), ground.seed), make)


def of_demonstrations(ground: Ground, means: Means) -> Searcher[Candidate]:
    """Other solved examples, in another order."""
    hand = ground.hand
    lines = [line if "{demos}" in line or "{label}" in line else "{demos}" + line for line in hand.lines]

    def make(shown: Shown) -> Candidate:
        rows = [ground.pool[number] for number in shown]
        pool = [
            Demonstration(values={name: str(row.values[name]) for name in hand.fields or ("text",)},
                          label=row.values["label"])
            for row in rows
        ]  # fmt: skip
        chosen = {"pool": pool, "count": len(pool), "selector": "first", "order": "given", "balance": False}
        return Candidate(marked(hand.but(templates=lines, demonstrations=chosen), "demonstrations"))

    return mapped(demonstrations(ground.by_class(ground.pool), means.shown, ground.seed), make)


def of_edits(ground: Ground, means: Means) -> Searcher[Candidate]:
    """The first template's words deleted, swapped, exchanged for words like them."""
    start, thesaurus = _begin(ground, means)
    return mapped(edits(start, thesaurus, ground.seed), _with_pieces(ground, "edits"))


def of_evolution(ground: Ground, means: Means) -> Searcher[Candidate]:
    """Templates that have children by crossing and edits."""
    start, thesaurus = _begin(ground, means)
    chance = Random(f"first {ground.seed}")
    first = [start, *(edited(start, chance, thesaurus) for _ in range(8))]

    def mutate(pieces: Pieces, chance: Random) -> Pieces:
        return edited(pieces if thesaurus.fits(pieces) else start, chance, thesaurus)

    searcher = evolve(list(dict.fromkeys(first)), crossing(crossed, mutate, ground.seed))
    return mapped(searcher, _with_pieces(ground, "evolution"))


def of_random_edits(ground: Ground, means: Means) -> Searcher[Candidate]:
    """Edits without any plan: what the others have to beat."""
    start, thesaurus = _begin(ground, means)

    def draw(chance: Random) -> Pieces:
        return edited(start, chance, thesaurus, chance.randint(1, 6))

    return mapped(at_random(draw, ground.seed), _with_pieces(ground, "random"))


def of_policy(ground: Ground, means: Means) -> Searcher[Candidate]:
    """For each word of the template: as it is, another one, or none; what helps is learnt by policy gradient."""
    start, thesaurus = _begin(ground, means)
    options = [
        [piece] if is_hole(piece) else [piece, *thesaurus.synonyms(start, place)[: means.options - 2], ""]
        for place, piece in enumerate(start)
    ]

    def make(choice: Choice) -> Candidate:
        pieces = tuple(each[number] for each, number in zip(options, choice, strict=True))
        return _with_pieces(ground, "policy")(tuple(piece for piece in pieces if piece))

    return mapped(learnt_policy(options, ground.seed), make)


def of_triggers(ground: Ground, means: Means) -> Searcher[Candidate]:
    """Words beside the answer that the gradient chooses."""
    vocabulary = Vocabulary(ground.scorer)
    names = {number: word for word, number in vocabulary.words.items()}
    chance = Random(f"triggers {ground.seed}")
    start = tuple(chance.choice(list(names)) for _ in range(means.vectors))

    def at(tokens: Tokens, place: int) -> list[int]:
        return promising(ground, vocabulary, tokens, means.answer)[place]

    def make(tokens: Tokens) -> Candidate:
        return Candidate(marked(with_triggers(ground.hand, [names[token] for token in tokens]), "triggers"))

    return mapped(triggers(start, at, ground.seed), make)


def of_vectors(ground: Ground, means: Means) -> Searcher[Candidate]:
    """Soft vectors before the first template, moved by an evolution strategy; no gradients."""
    hand = ground.hand
    if not hand.soft:
        hand = hand.but(templates=[f"{{soft:{means.vectors}}} {hand.lines[0]}", *hand.templates[1:]])
    spec = marked(hand, "soft")

    def make(numbers: Numbers) -> Candidate:
        return Candidate(spec, numbers)

    return mapped(evolution_strategy(means.numbers, ground.seed), make)


def of_filling(ground: Ground, means: Means) -> Searcher[Candidate]:
    """Templates that an encoder–decoder writes around the answers."""
    if means.writer is None:
        raise DanluError("E2353", found="—")
    writer = means.writer
    lines = means.answer({"fill": str(writer.where)}, lambda: written(ground, writer))
    specs = [_with_line(ground, line, "fill") for line in lines]
    return in_order([Candidate(spec) for spec in specs if spec is not None], len(specs) or 1)


def of_asking(ground: Ground, means: Means) -> Searcher[Candidate]:
    """Templates that somebody proposes who is shown the best so far."""
    if means.propose is None:
        raise DanluError("E2355")
    wanted = holes(cut(ground.hand.template))
    mutator = asked(means.propose, means.answer)

    def fitting(held: Sequence[tuple[str, Score]], count: int) -> list[str]:
        return [line for line in mutator(held, count) if _fits(line, wanted)]

    def make(line: str) -> Candidate:
        return Candidate(marked(ground.hand.but(templates=[line, *ground.hand.templates[1:]]), "ask"))

    return mapped(evolve([ground.hand.lines[0]], fitting), make)


def of_rules(ground: Ground, means: Means) -> Searcher[Candidate]:
    """The prompts of a list, all at once: those that look good on few rows are looked at on more."""
    return in_order([Candidate(spec) for spec in means.prompts], max(1, len(means.prompts)))


WAYS: Mapping[Kind, Callable[[Ground, Means], Searcher[Candidate]]] = {
    "words": of_words, "demonstrations": of_demonstrations, "edits": of_edits, "triggers": of_triggers,
    "soft": of_vectors, "fill": of_filling, "evolution": of_evolution, "ask": of_asking, "policy": of_policy,
    "random": of_random_edits, "rules": of_rules,
}  # fmt: skip
SHOWING: frozenset[Kind] = frozenset({"demonstrations"})  # show rows, which cannot be chosen by as well
WHOLE: frozenset[Kind] = frozenset({"soft"})  # look at all rows at once


def marked(spec: PromptSpec, way: str) -> PromptSpec:
    """The prompt, which says that a search made it."""
    return spec.model_copy(update={"made_by": (*spec.made_by, f"search:{way}")})


def _begin(ground: Ground, means: Means) -> tuple[Pieces, Thesaurus]:
    """The pieces of the first template, and what may be done with them."""
    start, vocabulary = cut(ground.hand.template), Vocabulary(ground.scorer)
    wanted = holes(start)
    known = tuple(piece for piece in start if not is_hole(piece))
    own = written_by(ground, vocabulary, means.answer, means.options) if means.mutator == "model" else None
    return start, Thesaurus(own or synonyms(vocabulary), known, lambda pieces: holes(pieces) == wanted)


def _with_pieces(ground: Ground, way: str) -> Callable[[Pieces], Candidate]:
    def make(pieces: Pieces) -> Candidate:
        templates = [joined(pieces, ground.hand.template), *ground.hand.templates[1:]]
        return Candidate(marked(ground.hand.but(templates=templates), way))

    return make


def _with_line(ground: Ground, line: str, way: str) -> PromptSpec | None:
    """The prompt with another first template; None where it is none."""
    try:
        return marked(ground.hand.but(templates=[line, *ground.hand.templates[1:]]), way)
    except DanluError:
        return None


def _fits(line: str, wanted: Pieces) -> bool:
    try:
        return holes(cut(joined((line,)))) == wanted
    except DanluError:
        return False
