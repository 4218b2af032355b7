import pytest
import torch

from danlu.prompt.rules.brief import brief_of, plain
from danlu.prompt.rules.knowledge import lexicon, patterns
from danlu.prompt.rules.making import bare, prompts, with_line
from danlu.prompt.rules.ranking import agreement, information
from danlu.prompt.segments import FieldOf
from danlu.tasks.task import Row

ENGLISH, CHINESE = [Row({"text": "a film about nothing at all"})], [Row({"text": "这部电影讲的是什么，没有人知道"})]
PAIR = [Row({"text": "a cat", "text_b": "an animal"})]


@pytest.mark.parametrize(
    ("labels", "rows", "kind", "language"),
    [
        (["neg", "pos"], ENGLISH, "sentiment", "en"), (["差评", "好评"], CHINESE, "sentiment", "zh"),
        (["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"], ENGLISH, "question", "en"),
        (["1", "2", "3", "4", "5"], ENGLISH, "rating", "en"),
        (["Sports", "Business", "Sci/Tech", "World"], ENGLISH, "topic", "en"),
        (["财经", "体育", "游戏"], CHINESE, "topic", "zh"), (["cats", "dogs"], ENGLISH, "any", "en"),
        (["entailment", "contradiction", "neutral"], PAIR, "inference", "en"), (["x", "y"], PAIR, "pair", "en"),
        (["spam", "ham"], ENGLISH, "spam", "en"), (["joy", "anger", "fear"], ENGLISH, "emotion", "en"),
    ],
)  # fmt: skip
def test_what_labels_tell(labels: list[str], rows: list[Row], kind: str, language: str) -> None:
    brief = brief_of(rows, labels)
    assert (brief.kind, brief.language) == (kind, language)


def test_meanings_are_told_where_names_are_none() -> None:
    assert brief_of(ENGLISH, ["0", "1"]).kind == "any"
    brief = brief_of(ENGLISH, {"0": "negative", "1": "positive"})
    assert brief.kind == "sentiment"
    assert list(prompts(brief, "masked")[0].verbaliser.words) == ["0", "1"]


def test_names_are_taken_apart() -> None:
    assert plain("EducationalInstitution") == "educational institution"
    assert plain("mean_of-transportation") == "mean of transportation"
    assert set(brief_of(ENGLISH, ["news_sports", "news_car"]).labels.values()) == {"sports", "car"}


@pytest.mark.parametrize("kind", ["masked", "causal", "sequence_to_sequence", "dual"])
@pytest.mark.parametrize("rows", [ENGLISH, CHINESE], ids=["en", "zh"])
@pytest.mark.parametrize(
    "labels", [["neg", "pos"], ["sports", "finance", "game"], ["cats", "dogs"], ["LOC", "NUM", "HUM"]]
)
def test_every_prompt_fits_its_model_and_says_who_made_it(labels: list[str], rows: list[Row], kind: str) -> None:
    brief = brief_of(rows, labels)
    made = prompts(brief, kind)
    assert 3 < len(made) <= 200
    assert made[-1] == bare(brief, kind)
    assert [spec.to_json() for spec in made] == [spec.to_json() for spec in prompts(brief, kind)]
    for spec in made:
        assert spec.made_by[: len(brief.rules)] == brief.rules
        assert len(spec.made_by) > len(brief.rules)
        fields = [segment for template in spec.templates for segment in template if isinstance(segment, FieldOf)]
        assert bool(fields) != (kind == "dual")
        assert spec.language == brief.language
    assert len({tuple(spec.lines) for spec in made}) > 2


def test_pairs_name_both_texts() -> None:
    brief = brief_of(PAIR, ["entailment", "neutral", "contradiction"])
    assert all(set(spec.fields) == {"text", "text_b"} for spec in prompts(brief, "causal")[:-1])


def test_labels_of_two_parts_are_asked_for_in_two_places() -> None:
    labels = ["NUM:date", "NUM:count", "LOC:city", "LOC:country"]
    brief = brief_of(ENGLISH, labels)
    composed = next(spec for spec in prompts(brief, "masked") if "compose:two_masks" in spec.made_by)
    assert composed.verbaliser.words["NUM:date"] == (("NUM", "date"),)
    written = next(spec for spec in prompts(brief, "dual") if "compose:both" in spec.made_by)
    assert written.verbaliser.words["LOC:city"] == ("city (LOC)", "LOC: city")
    assert not brief_of(ENGLISH, ["a:b", "c:d"]).parents


def test_a_line_of_ones_own_gets_words() -> None:
    brief = brief_of(ENGLISH, ["neg", "pos"])
    assert with_line(brief, "masked", "Review: {text} Sentiment: {mask}").verbaliser.words["pos"] == ("positive",)
    assert with_line(brief, "masked", "{text} It was {mask}.").verbaliser.words["pos"][0] == "great"


def test_the_tables_are_whole() -> None:
    """Both languages everywhere; no label of a kind is called as another; every pattern is named after its kind."""
    for kind, labels in lexicon().items():
        names = [name.lower() for label in labels for name in (label.name, *label.also)]
        assert len(names) == len(set(names)), kind
        assert all(forms.names for label in labels for forms in (label.forms["en"], label.forms["zh"])), kind
    for kind, some in patterns().items():
        assert all(pattern.name.startswith(f"{kind}.") and set(pattern.template) == {"en", "zh"} for pattern in some)
        assert kind in ("any", "pair", "picture") or kind in lexicon()


def test_ranking_without_labels() -> None:
    """Three prompts that say what is so, one that always says the same, one that says the opposite."""
    truth = torch.tensor([0, 1] * 10)
    right = torch.nn.functional.one_hot(truth, 2).float() * 4
    scores = torch.stack(
        [right, right * 0.9, right * 0.8, torch.tensor([[4.0, 0.0]]).expand(20, 2), -right]
    ).log_softmax(-1)
    agreed, told = agreement(scores), information(scores)
    assert agreed.argmax() in (0, 1, 2)
    assert agreed[4] == agreed.min()
    assert told[3] == told.min()
    assert abs(float(told[3])) < 1e-6
    assert told[0] > told[1]
