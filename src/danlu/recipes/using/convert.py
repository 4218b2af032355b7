"""`danlu convert FOLDER`: pickled weights into safetensors, because somebody asked for it."""

from pathlib import Path

from danlu.checkpoint import convert as convert_folder
from danlu.recipes.runs.call import Answer, Call, Common


def convert(call: Call) -> Answer:
    """The verb. Errors of `checkpoint.convert`."""
    settings = call.build(Common)
    (folder,) = call.take("FOLDER")
    assert folder
    if call.dry_run:
        return call.rehearse(settings)
    written = convert_folder(Path(folder), call.voice)
    for path in written:
        call.voice.say(f"written: {path}", f"已写出：{path}")
    return Answer(files=tuple(written))
