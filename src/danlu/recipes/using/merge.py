"""`danlu merge RUN output=FOLDER`: an adapter and the model below it as one plain model."""

from pathlib import Path

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import slug


class Merge(Common):
    """base: the model below, where it is not where it was."""

    base: str | None = None


def merge(call: Call) -> Answer:
    """The verb. E2014 where there is no adapter, E2007 for one that cannot be merged, E2005 and E2006 for the model
    below; E1620 where something stands in the way."""
    settings = call.build(Merge)
    (word,) = call.take("RUN")
    assert word
    folder = Path(settings.output or Path("models") / slug(word))
    if folder.exists():
        raise DanluError("E1620", where=folder, name=folder)
    checkpoint = Checkpoint.load(word, base=settings.base, seed=settings.seed)
    if checkpoint.adapted is None:
        raise DanluError("E2014", where=word)
    kind = checkpoint.adapted.change.kind
    merged = checkpoint.merged()
    if call.dry_run:
        return call.rehearse(settings)
    merged.save(folder)
    call.voice.say(f"{kind} merged into one model: {folder}", f"已将 {kind} 并入模型：{folder}")
    return Answer(files=(folder,))
