"""`danlu data inspect | check | split | leaks | prepare`."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

from pydantic import Field

from danlu.data.division import MANY, divide, sampling_of, weights_of
from danlu.data.inspect import inspect as look
from danlu.data.inspect import show
from danlu.data.ledger import REASONS, Dropped, Ledger
from danlu.data.mixing import shares
from danlu.data.reading import Row
from danlu.data.settings import spoken
from danlu.data.sifting import read, sift
from danlu.data.sources import DataSettings, all_files, resolved
from danlu.errors import DanluError
from danlu.files import replace_file
from danlu.recipes.pictures.check import check as check_pictures
from danlu.recipes.pictures.check import holds_pictures
from danlu.recipes.pictures.inspect import inspect as inspect_pictures
from danlu.recipes.pictures.plan import kind_of_start
from danlu.recipes.pictures.speaking.inspect import inspect as inspect_seeing
from danlu.recipes.preparing.labelled import check_leaks, is_labelled, split_labelled
from danlu.recipes.preparing.prepare import prepared
from danlu.recipes.pretraining.loading import loading
from danlu.recipes.pretraining.objectives import OBJECTIVES
from danlu.recipes.pretraining.plan import plan
from danlu.recipes.pretraining.pretrain import chosen_for, first_model, make_tokenizer
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import folder_problems, slug
from danlu.recipes.runs.machine import size_in_words
from danlu.recipes.starting.halves import Deceived
from danlu.recipes.starting.start import find_tokenizer
from danlu.report.inspection import inspection_page
from danlu.train.evaluation import Batches
from danlu.voice import Voice


class Data(Common):
    """rows, html: of inspect. share: of split, the part that is set aside. part (K/N), parts, engine: of prepare."""

    data: DataSettings = DataSettings()
    rows: int = Field(3, ge=1, le=1000)
    html: Path | None = None
    share: float = Field(0.1, gt=0, lt=1)
    part: str | None = None
    parts: int = Field(1, ge=1, le=100_000)
    engine: Literal["here", "ray"] = "here"


class Reach(NamedTuple):
    """How much a text holds."""

    documents: int
    pieces: int
    characters: int
    bytes: int


def data(call: Call) -> Answer:
    """The verb."""
    actions: dict[str, Callable[[Call], Answer]] = {
        "inspect": inspect, "check": check, "split": split, "leaks": check_leaks, "prepare": prepare,
    }  # fmt: skip
    action, rest = call.choose(tuple(actions))
    return actions[action](rest)


def inspect(call: Call) -> Answer:
    """Exactly what a pretraining run of this START on this DATA would see, from its first row on."""
    settings = call.only("rows", "html").build(Data)
    kinds = {"dual": inspect_pictures, "multimodal": inspect_seeing}
    if own := kinds.get(kind_of_start(call) or ""):
        return own(call, settings.rows, settings.html)
    ready = plan(call.without("rows", "html"))
    if call.dry_run:
        return call.rehearse(ready.settings)
    start = ready.start
    tokenizer = find_tokenizer(start.where) if start.where else make_tokenizer(ready.settings, start.family, call.voice)
    divided = divide(ready.settings.data, tokenizer, call.voice)
    chosen = chosen_for(ready.settings, start.family)
    parts = loading(ready.settings, divided, tokenizer, start.family, chosen, start.languages).parts
    loaders: dict[str, Batches] = {turn: part.training for turn, part in parts.items()}
    if "replaced" in chosen.weights:
        begun = first_model(ready, tokenizer)
        loaders = {turn: Deceived(part.training, begun) for turn, part in parts.items()}
    seen = [
        look(each, tokenizer, settings.rows, described(turn, call.voice), parts[turn].training.origins(settings.rows))
        for turn, each in loaders.items()
    ]
    for each in seen:
        if len(seen) > 1:
            print(each.objective)
        show(each, call.voice)
    if settings.html:
        replace_file(settings.html, inspection_page(seen, call.voice))
        call.voice.say(f"page: {settings.html}", f"网页：{settings.html}")
    counts = seen[0].counts if len(seen) == 1 else {turn: each.counts for turn, each in zip(parts, seen, strict=True)}
    return Answer(metrics=counts, files=(settings.html,) if settings.html else ())


def described(turn: str, voice: Voice) -> str:
    """The objectives of a turn in words."""
    return " + ".join(f"{name}: {voice.pick(OBJECTIVES[name].en, OBJECTIVES[name].zh)}" for name in turn.split("+"))


def prepare(call: Call) -> Answer:
    """Tokenise before training: everything, or one part of N, each on a machine of its own."""
    own = call.only("part", "parts", "engine").build(Data)
    return prepared(call, own.part, own.parts, own.engine)


def check(call: Call) -> Answer:
    """Read everything once and count; what would be dropped is listed with its reason, file and line."""
    paths = call.words or (call.settings.get("data") or {}).get("paths") or ()
    if holds_pictures(paths):
        return check_pictures(call, paths)
    settings, chosen = _chosen(call)
    if call.dry_run:
        return call.rehearse(settings)
    ledger, pick, several = Ledger(), call.voice.pick, {}
    found, sieve, weights_of_all = all_files(chosen), sift(chosen, call.voice), weights_of(chosen)
    with call.voice.progress("reading", "读取", sum(source.size for source in found)) as bar:
        for name, part in chosen.parts.items():
            several[name] = measure(read(part, name, sieve, ledger, call.voice, bar.advance))
    reach = Reach(*map(sum, zip(*several.values(), strict=True)))
    facts = (
        (pick("files", "文件"), f"{sum(len(source.files) for source in found):,}"),
        (pick("rows read", "读入行"), f"{ledger.read or 0:,}"),
        (pick("documents", "文档"), f"{reach.documents:,}"),
        (pick("characters", "字符"), f"{reach.characters:,} ({size_in_words(reach.bytes)})"),
        (pick("dropped", "丢弃"), f"{ledger.dropped.total():,}"),
    )
    for name, value in facts:
        call.voice.fact(name, value)
    for reason, count in ledger.dropped.items():
        places = [_place(each, call.voice) for each in ledger.details if each.reason == reason][:3]
        more = " …" if count > len(places) else ""
        call.voice.fact(f"  {pick(*REASONS.get(reason, (reason, reason)))}", f"{count:,}  ({', '.join(places)}{more})")
    counted = reach._asdict() | {"files": len(found), "rows": ledger.read, "dropped": dict(ledger.dropped)}
    if chosen.sources:
        counted["sources"] = _sources(chosen, several, weights_of_all, call.voice)
    return Answer(metrics=counted, passed=reach.documents > 0)


def _place(dropped: Dropped, voice: Voice) -> str:
    same = voice.pick(f" like {dropped.like}", f" 与 {dropped.like} 相同") if dropped.like else ""
    return f"{dropped.file}:{dropped.line}{same}"


def _sources(
    chosen: DataSettings, several: Mapping[str, Reach], weights: Sequence[float | None], voice: Voice
) -> dict[str, Any]:
    """Each source: how much it holds, in which languages, and how often it would be drawn."""
    given = [weight for weight in weights if weight is not None]
    drawn = [weight / sum(given) for weight in given] or list(
        shares([max(1, each.bytes) for each in several.values()], sampling_of(chosen))
    )
    found = {}
    for (name, part), each, share in zip(chosen.parts.items(), several.values(), drawn, strict=True):
        languages = ", ".join(spoken(part)) or "–"
        held = voice.pick(f"{each.documents:,} documents", f"{each.documents:,} 篇文档")
        words = f"{languages}  {held}  {size_in_words(each.bytes)}  {share:.1%}"
        voice.fact(voice.pick(f"source {name}", f"数据源 {name}"), words)
        found[name] = each._asdict() | {"languages": list(spoken(part)), "share": float(share)}
    return found


def split(call: Call) -> Answer:
    """Write NAME.train.jsonl and NAME.validation.jsonl, a document a line under `text`; no text is in both.

    Of many documents whole ones are set aside, the same text always on the same side; of few, their ends. Labelled rows
    keep their columns, and those that say nearly the same stay together.
    """
    if is_labelled(call.words) and not call.settings.get("data"):
        return split_labelled(call)
    settings, chosen = _chosen(call.without("tested", "task"))
    folder = Path(settings.output or ".")
    for problem in folder_problems(folder):
        raise problem
    if call.dry_run:
        return call.rehearse(settings)
    if not chosen.paths:
        raise DanluError("E1005", word="DATA", possible=["DATA"])
    name, sieve = slug(chosen.paths[0]), sift(chosen, call.voice)
    reach = measure(read(chosen, "", sieve, Ledger(), call.voice))
    if reach.pieces < 2:
        raise DanluError("E1224", share=f"{settings.share:.1%}", found=f"{reach.documents}")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{side}.jsonl" for side in ("train", "validation")]
    counts = [0, 0]
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("w", encoding="utf8")) for path in paths]
        again = read(chosen, "", sieve, Ledger(), call.voice.silenced())
        for side, text in sides(again, settings.share, reach):
            _write(files[side], text)
            counts[side] += 1
    call.voice.say(
        f"{paths[0]}: {counts[0]:,}, {paths[1]}: {counts[1]:,}", f"{paths[0]}：{counts[0]:,}，{paths[1]}：{counts[1]:,}"
    )
    return Answer(metrics={"train": counts[0], "validation": counts[1]}, files=tuple(paths))


def measure(rows: Iterator[Row]) -> Reach:
    documents = pieces = characters = size = 0
    for row in rows:
        documents += row.begins
        pieces += 1
        characters += len(row.text)
        size += len(row.text.encode("utf8", errors="replace"))
    return Reach(documents, pieces, characters, size)


def sides(rows: Iterator[Row], share: float, reach: Reach) -> Iterator[tuple[int, str]]:
    """(0 to train on or 1 to validate by, text): whole documents by their hash, or the ends of few long ones."""
    if reach.documents < MANY:
        border = min(reach.pieces - 1, max(1, round(reach.pieces * (1 - share))))
        parts: tuple[list[str], list[str]] = ([], [])
        for number, row in enumerate(rows):
            side = int(number >= border)
            if row.begins and parts[side]:
                yield side, "".join(parts[side])
                parts[side].clear()
            parts[side].append(row.text)
        yield from ((side, "".join(texts)) for side, texts in enumerate(parts) if texts)
        return
    for text in whole(rows):
        chance = int.from_bytes(hashlib.sha256(text.encode("utf8", errors="replace")).digest()[:8]) / 2**64
        yield int(chance < share), text


def whole(rows: Iterator[Row]) -> Iterator[str]:
    """Documents again from their pieces."""
    parts: list[str] = []
    for row in rows:
        if row.begins and parts:
            yield "".join(parts)
            parts = []
        parts.append(row.text)
    if parts:
        yield "".join(parts)


def _chosen(call: Call) -> tuple[Data, DataSettings]:
    """The settings, and where the data lies. E1005 without any."""
    settings = call.build(Data)
    paths = call.words or settings.data.paths
    if not (paths or settings.data.any):
        raise DanluError("E1005", word="DATA", possible=["DATA"])
    return settings, resolved(settings.data.model_copy(update={"paths": tuple(paths)}))


def _write(file: TextIO, text: str) -> None:
    file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
