"""What a model itself would write in a word's place: mutations by a model, however small."""

from typing import cast

import torch

from danlu.generate.rest import at_rest
from danlu.models.language import LanguageModel
from danlu.prompt.masked import MaskedScorer
from danlu.prompt.notation import read_notation
from danlu.prompt.search.edits import Synonyms
from danlu.prompt.search.ground import Ground
from danlu.prompt.search.pieces import Pieces, is_hole, like
from danlu.prompt.search.vocabulary import Answer, Vocabulary
from danlu.prompt.spec import parts_of
from danlu.tasks.task import Row

EXAMPLES = 4  # rows that are read with the template


def written_by(ground: Ground, vocabulary: Vocabulary, answer: Answer, count: int = 8) -> Synonyms | None:
    """Words that the model expects in a piece's place, among the pieces around it, a row's text and its answer. Of a
    model that fills masks, both sides count; of one that writes on, what stands before. None for other models."""
    scorer = ground.scorer
    if not isinstance(scorer.model, LanguageModel):
        return None

    def of(pieces: Pieces, place: int) -> list[str]:
        piece = pieces[place]
        if is_hole(piece) or not piece.strip().isalpha():
            return []
        words = answer({"expected at": place, "of": list(pieces)}, lambda: _expected(ground, vocabulary, pieces, place))
        return [like(piece, word) for word in words if word != piece.strip().lower()][:count]

    return of


def _expected(ground: Ground, vocabulary: Vocabulary, pieces: Pieces, place: int) -> tuple[list[str], int]:
    """The likeliest words, by the mean of their log-probabilities over some rows; and the tokens that were read."""
    scorer, names = ground.scorer, {number: word for word, number in vocabulary.words.items()}
    known = torch.tensor(list(names))
    rows = [_around(ground, row, pieces, place) for row in ground.pool[:EXAMPLES]]
    model, total, read = cast(LanguageModel, scorer.model), torch.zeros(len(known)), 0
    with at_rest(model) as device:
        for before, after in rows:
            if isinstance(scorer, MaskedScorer):
                tokens = scorer.tokenizer.frame([*before, scorer.mask, *after])
                at = len(scorer.tokenizer.prefix) + len(before)
            else:
                tokens = [*(scorer.tokenizer.prefix or scorer.tokenizer.frame([])), *before] or [0]
                at = len(tokens) - 1
            logits = model(torch.tensor([tokens], device=device))[0, at].float().log_softmax(-1)
            total, read = total + logits.cpu()[known], read + len(tokens)
    best = total.argsort(descending=True, stable=True)[:20].tolist()
    return [names[int(known[number])] for number in best], read


def _around(ground: Ground, row: Row, pieces: Pieces, place: int) -> tuple[list[int], list[int]]:
    """What stands before and behind a piece, in tokens: holes are filled by the row and its answer."""
    phrases = ground.hand.verbaliser.words[row.values["label"]]
    room = ground.scorer.room(ground.hand) // 3

    def text(some: Pieces) -> str:
        return "".join(_filled(piece, row, " ".join(parts_of(phrases[0]))) for piece in some)

    before, after = (ground.scorer.spelling.word(text(some)) for some in (pieces[:place], pieces[place + 1 :]))
    return before[-room:], after[:room]


def _filled(piece: str, row: Row, answer: str) -> str:
    if not is_hole(piece):
        return piece
    (segment,) = read_notation(piece.strip())
    space = piece[: len(piece) - len(piece.lstrip())]
    if segment.kind == "field":
        return space + str(row.values.get(segment.name, ""))
    return space + (answer if segment.kind in ("mask", "label") else "")
