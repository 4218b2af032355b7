"""`danlu data check PICTURES`: every picture decoded once and counted, nothing kept."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count

from danlu.data.ledger import REASONS as WORDS
from danlu.data.pictures.pairs import Pair
from danlu.data.pictures.prepare import Gathered, gather
from danlu.data.pictures.settings import PictureSettings
from danlu.data.pictures.store import REASONS
from danlu.data.sources import STDIN
from danlu.errors import DanluError
from danlu.recipes.runs.call import Answer, Call
from danlu.settings import build
from danlu.vision.film import open_film
from danlu.vision.opening import open_picture
from danlu.voice import Voice

# What is told of text that is taken for pictures.
NO_PICTURES = ("E1215", "E2205", "E2206", "E2207", "E2208", "E2209", "E1101")
WINDOW, SHOWN = 256, 3


def holds_pictures(paths: Sequence[str]) -> bool:
    """Whether some paths hold pictures with captions or questions; whatever else is wrong is told later."""
    if not paths or STDIN in paths:
        return False
    try:
        gather(PictureSettings(paths=tuple(paths)), Voice(quiet=True), asks=True)
    except DanluError as error:
        return error.code not in NO_PICTURES
    return True


def check(call: Call, paths: Sequence[str]) -> Answer:
    """How many of each kind there are and could be read, how large they are, and what would be left out."""
    data = build(PictureSettings, call.settings.get("data") or {}, {"paths": list(paths)})
    if call.dry_run:
        return call.rehearse(data)
    gathered = gather(data, call.voice, asks=True)
    pairs, ledger, pick = gathered.training, gathered.ledger, call.voice.pick
    sizes: Counter[tuple[int, int]] = Counter()
    with (
        call.voice.progress("decoding pictures", "解码图片", len(pairs)) as bar,
        ThreadPoolExecutor(cpu_count() or 1) as workers,
    ):
        for start in range(0, len(pairs), WINDOW):
            some = pairs[start : start + WINDOW]
            for pair, found in zip(some, workers.map(lambda pair: _size(pair, data), some), strict=True):
                if isinstance(found, str):
                    ledger.drop(found, pair.where, pair.line)
                else:
                    sizes[found] += 1
            bar.advance(len(some))
    counts = counted(gathered)
    for name, (en, zh) in COUNTED.items():
        if counts[name]:
            call.voice.fact(pick(en, zh), f"{counts[name]:,}")
    if sizes:
        ordered = sorted(sizes, key=lambda size: size[0] * size[1])
        least, most = (" × ".join(map(str, ordered[at])) for at in (0, -1))
        usual = " × ".join(map(str, sizes.most_common(1)[0][0]))
        call.voice.fact(
            pick("pixels", "像素"), f"{least} – {most}, {pick(f'mostly {usual}', f'多为 {usual}')}"
        )  # fmt: skip
    call.voice.fact(pick("dropped", "丢弃"), f"{ledger.dropped.total():,}")
    for reason, count in ledger.dropped.items():
        places = [f"{each.file}:{each.line}" for each in ledger.details if each.reason == reason][:SHOWN]
        more = " …" if count > len(places) else ""
        call.voice.fact(f"  {pick(*WORDS.get(reason, (reason, reason)))}", f"{count:,}  ({', '.join(places)}{more})")
    return Answer(metrics=counts | {"dropped": dict(ledger.dropped)}, passed=bool(sizes))


COUNTED = {
    "pictures": ("pictures", "图片"), "films": ("films", "影片"), "captions": ("captions", "说明"),
    "questions": ("questions", "问题"), "answers": ("different answers", "不同的答案"),
}  # fmt: skip


def counted(gathered: Gathered) -> dict[str, int]:
    pairs = gathered.training
    films = sum(pair.is_film for pair in pairs)
    return {
        "pictures": len(pairs) - films,
        "films": films,
        "captions": sum(len(pair.captions) for pair in pairs),
        "questions": sum(len(pair.questions) for pair in pairs),
        "answers": len({answer for pair in pairs for _, answer in pair.questions}),
    }


def _size(pair: Pair, data: PictureSettings) -> tuple[int, int] | str:
    """Width and height, or why it cannot be read."""
    try:
        raw = pair.read()
        if not pair.is_film:
            return open_picture(raw, pair.where, data.pixels).size
        suffix = "." + str(pair.member).lower().rpartition(".")[2]
        return open_film(raw, data.frames, pair.where, suffix, data.pixels)[0].size
    except DanluError as error:
        if error.code not in REASONS:
            raise
        return REASONS[error.code]
