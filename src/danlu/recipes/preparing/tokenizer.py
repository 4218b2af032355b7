"""`danlu tokenizer train | compare | extend`."""

from pathlib import Path

from rich.table import Table

from danlu.data.sources import DataSettings, all_files, resolved, sources
from danlu.data.texts import texts
from danlu.errors import DanluError, nearest
from danlu.models.families import FAMILIES
from danlu.recipes.looking.listing import show
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import folder_problems, next_free, slug
from danlu.recipes.starting.start import find_tokenizer, fresh_tokenizer
from danlu.text.fertility import compare as compare_all
from danlu.text.training import TokenizerSettings

FAMILY_OF = {"auto": "gpt2", "bpe": "gpt2", "characters": "gpt2", "wordpiece": "bert", "unigram": "t5"}
COMPARED = 2_000_000  # characters of a text that are enough to compare


class TokenizerVerb(Common):
    """family: whose special tokens a fresh tokenizer gets; by its kind where not given."""

    family: str | None = None
    data: DataSettings = DataSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()


def tokenizer(call: Call) -> Answer:
    """The verb."""
    settings = call.build(TokenizerVerb)
    action, rest = call.choose(("train", "compare", "extend"))
    return {"train": train, "compare": compare, "extend": extend}[action](rest, settings)


def train(call: Call, settings: TokenizerVerb) -> Answer:
    """A vocabulary from text. E1005 without data, E1014 for an unknown family, E1623 where nothing can be written."""
    data = settings.data.model_copy(update={"paths": tuple(call.words or settings.data.paths)})
    if not data.any:
        raise DanluError("E1005", word="DATA", possible=["DATA"])
    data = resolved(data)
    name = settings.family or FAMILY_OF[settings.tokenizer.kind]
    if name not in FAMILIES:
        raise DanluError("E1014", found=name, possible=list(FAMILIES), nearest=nearest(name, FAMILIES))
    family = FAMILIES[name]
    kind = family.tokenizer if settings.tokenizer.kind == "auto" else settings.tokenizer.kind
    chosen = settings.tokenizer.model_copy(update={"kind": kind})
    all_files(data)
    first = str(call.words[0]) if call.words else "-".join(data.sources or data.parallel) or data.paths[0]
    folder = Path(settings.output) if settings.output else next_free(Path("tokenizers") / slug(first)).path
    for problem in folder_problems(folder):
        raise problem
    if call.dry_run:
        return call.rehearse(settings.model_copy(update={"tokenizer": chosen, "data": data, "output": str(folder)}))
    made = fresh_tokenizer(texts(data, call.voice), chosen, family, call.voice)
    made.write(folder)
    call.voice.say(f"{made.vocabulary:,} entries: {folder}", f"词表 {made.vocabulary:,} 项：{folder}")
    return Answer(metrics={"vocabulary": made.vocabulary, "kind": kind}, files=tuple(sorted(folder.iterdir())))


def compare(call: Call, settings: TokenizerVerb) -> Answer:
    """How many tokens each tokenizer needs for each text; the last words that are text are the texts."""
    candidates: list[str] = []
    files = list(settings.data.paths)
    for word in call.words:
        (candidates if is_tokenizer(word) else files).append(word)
    if not candidates or not files:
        raise DanluError(
            "E1005", word="TOKENIZER" if not candidates else "DATA", possible=["TOKENIZER ...", "DATA ..."]
        )
    sources(files, settings.data)
    if call.dry_run:
        return call.rehearse(settings)
    known = {word: find_tokenizer(word) for word in candidates}
    found = compare_all(known, {path: _beginning(path, settings.data, call) for path in files})
    pick = call.voice.pick
    titles = (("text", "文本"), ("tokenizer", "分词器"), ("vocabulary", "词表"), ("tokens a character", "词元/字符"),
              ("bytes a token", "字节/词元"), ("unknown", "未知"), ("comes back whole", "可还原"))  # fmt: skip
    table = Table(*(pick(*title) for title in titles), box=None, pad_edge=False)
    for each in found:
        bytes_each = 1 / each.per_byte if each.per_byte else 0.0
        figures = (f"{each.vocabulary:,}", f"{each.per_character:.3f}", f"{bytes_each:.2f}", f"{each.unknown:.2%}")
        table.add_row(each.text, each.tokenizer, *figures, pick("yes", "是") if each.whole else pick("no", "否"))
    show(table)
    rows = [vars(each) | {"per_character": each.per_character, "per_byte": each.per_byte} for each in found]
    return Answer(metrics={"tokenizers": rows})


def extend(call: Call, settings: TokenizerVerb) -> Answer:
    """The words of a file, one a line, added to a tokenizer; those it knows already are passed over."""
    start, words = call.take("START", "WORDS")
    assert start
    assert words
    old = find_tokenizer(start)
    wanted = dict.fromkeys(
        line.strip()
        for text in texts(settings.data.model_copy(update={"paths": (words,)}), call.voice)
        for line in text.splitlines()
    )
    fresh = [word for word in wanted if word and old.id(word) is None]
    folder = (
        Path(settings.output) if settings.output else next_free(Path("tokenizers") / f"{slug(start)}-extended").path
    )
    for problem in folder_problems(folder):
        raise problem
    if call.dry_run:
        return call.rehearse(settings)
    made = old.extend(fresh)
    made.write(folder)
    call.voice.say(
        f"{len(fresh):,} of {len(wanted):,} words added: {folder}",
        f"{len(wanted):,} 个词中加入了 {len(fresh):,} 个：{folder}",
    )
    return Answer(metrics={"vocabulary": made.vocabulary, "added": len(fresh)}, files=tuple(sorted(folder.iterdir())))


def is_tokenizer(word: str) -> bool:
    """Whether a word names something that holds a tokenizer rather than text."""
    place = Path(word)
    inside = ("tokenizer.json", "vocab.txt", "vocab.json", "config.yaml", "tokenizer_config.json")
    if place.is_dir():
        return any((place / name).exists() for name in inside) or any(place.glob("*.model"))
    return place.name in inside or place.suffix == ".model"


def _beginning(path: str, settings: DataSettings, call: Call) -> str:
    """The first characters of a text, as many as are enough to compare by."""
    parts: list[str] = []
    size = 0
    for text in texts(settings.model_copy(update={"paths": (path,)}), call.voice):
        parts.append(text)
        size += len(text)
        if size >= COMPARED:
            break
    return "\n".join(parts)[:COMPARED]
