"""`danlu explain E1203` and `danlu schema VERB`: what can be known without doing anything."""

import json
import re
from importlib import import_module

from danlu.errors import DanluError, Language, catalogue, nearest
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.settings import Settings
from danlu.settings import schema as json_schema

# Where each verb's settings stand; imported only when asked for. What is said of labelled rows stands apart.
SETTINGS = {
    "pretrain": ("danlu.recipes.pretraining.stage", "Pretrain"),
    "pretrain pictures": ("danlu.recipes.pictures.stage", "PretrainPictures"),
    "pretrain seeing": ("danlu.recipes.pictures.speaking.stage", "TeachSeeing"),
    "finetune": ("danlu.recipes.finetuning.stage", "Finetune"),
    "finetune pictures": ("danlu.recipes.pictures.stage", "PretrainPictures"),
    "finetune seeing": ("danlu.recipes.pictures.speaking.stage", "TeachSeeing"),
    "merge": ("danlu.recipes.using.merge", "Merge"),
    "export": ("danlu.recipes.exporting.export", "Export"),
    "compress": ("danlu.recipes.compressing.stage", "Compress"),
    "evaluate": ("danlu.recipes.evaluating.evaluate", "Evaluate"),
    "evaluate rows": ("danlu.recipes.evaluating.evaluate", "EvaluateAnswers"),
    "evaluate harness": ("danlu.recipes.evaluating.harness", "EvaluateHarness"),
    "evaluate pictures": ("danlu.recipes.pictures.evaluate", "EvaluatePictures"),
    "chat": ("danlu.recipes.using.chat", "ChatVerb"),
    "data": ("danlu.recipes.preparing.data", "Data"),
    "data rows": ("danlu.recipes.preparing.labelled", "LabelledData"),
    "tokenizer": ("danlu.recipes.preparing.tokenizer", "TokenizerVerb"),
    "estimate": ("danlu.recipes.estimating.estimate", "Estimate"),
    "verify": ("danlu.recipes.looking.verify", "Verify"),
    "prompt": ("danlu.recipes.prompting.stage", "Prompt"),
    "prompt tune": ("danlu.recipes.prompting.tune", "Tune"),
    "prompt ladder": ("danlu.recipes.prompting.rungs", "Ladder"),
    "evaluate prompt": ("danlu.recipes.prompting.evaluate", "EvaluatePrompt"),
}


def explain(call: Call) -> Answer:
    """Print an error's page; without a number, list them all."""
    call.build(Common)
    (word,) = call.take("NUMBER", optional=1)
    if word is None:
        for code in catalogue():
            print(f"{code}  {_plain(code, 'title', call.voice.language)}")
        return Answer(metrics={"errors": len(catalogue())})
    code = word.upper() if word[:1] in "eE" else f"E{word}"
    if code not in catalogue():
        raise DanluError("E1004", word=word, nearest=nearest(code, catalogue()))
    language = call.voice.language
    print(f"{code}  {_plain(code, 'title', language)}\n")
    print(_plain(code, "explain", language) + "\n")
    print(call.voice.pick("mend: ", "修正：") + _plain(code, "mend", language))
    return Answer(metrics={"code": code})


def schema(call: Call) -> Answer:
    """Print the JSON Schema of a verb's settings."""
    call.build(Common)
    (verb,) = call.take("VERB")
    assert verb is not None
    print(json.dumps(json_schema(settings_of(verb)), ensure_ascii=False, indent=2))
    return Answer(metrics={"verb": verb})


def settings_of(verb: str) -> type[Settings]:
    """The settings class of a verb. E1006 where it has none of its own."""
    if verb not in SETTINGS:
        raise DanluError("E1006", found=verb, possible=list(SETTINGS), nearest=nearest(verb, SETTINGS))
    module, name = SETTINGS[verb]
    kind: type[Settings] = getattr(import_module(module), name)
    return kind


def _plain(code: str, part: str, language: Language) -> str:
    """A catalogue text with its blanks shown as such."""
    return re.sub(r"\{(\w+)\}", r"‹\1›", catalogue()[code][part][language]).strip()
