"""The command: `danlu VERB [START] [DATA] [name=value | --name value ...]`.

One table of verbs. A verb's package is imported when the verb is called, so that help never waits for torch.
"""

import json
import math
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from danlu import __version__
from danlu.errors import DanluError, Language, nearest
from danlu.voice import Voice, system_language

if TYPE_CHECKING:
    from danlu.recipes.runs.call import Answer

MISTAKE, FAILURE, STOPPED = 2, 1, 130
HELP = {"--help", "-h"}
FLAGS = ("dry_run", "json", "quick", "help")


@dataclass(frozen=True)
class Verb:
    name: str
    module: str
    function: str
    en: str
    zh: str

    def line(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en


VERBS = (
    Verb("demo", "danlu.recipes.demo", "demo",
         "the whole path in minutes, on text this machine has", "用本机自带的文本，几分钟走完全程"),
    Verb("data", "danlu.recipes.preparing.data", "data",
         "inspect what a model will see; check, split files", "查看模型将看到的内容；检查、划分数据"),
    Verb("tokenizer", "danlu.recipes.preparing.tokenizer", "tokenizer",
         "train, compare, extend tokenizers", "训练、比较、扩充分词器"),
    Verb("pretrain", "danlu.recipes.pretraining.pretrain", "pretrain",
         "train a model from nothing, or further; resume a run", "从零预训练、继续预训练，或恢复中断的运行"),
    Verb("finetune", "danlu.recipes.finetuning.finetune", "finetune",
         "teach a model a task from a small file", "用一份小数据教模型完成任务"),
    Verb("prompt", "danlu.recipes.prompting.prompt", "prompt",
         "make, rank and choose prompts for a frozen model", "为不再训练的模型生成、排序、选择提示"),
    Verb("merge", "danlu.recipes.using.merge", "merge",
         "make an adapter and the model below it one plain model", "把适配器与底座合并成一个普通模型"),
    Verb("compress", "danlu.recipes.compressing.compress", "compress",
         "prune, factorise, distil, quantise: a chain, or a budget", "剪枝、分解、蒸馏、量化：一条流程，或一个预算"),
    Verb("export", "danlu.recipes.exporting.export", "export",
         "a model for other runtimes: gguf, onnx, compressed-tensors, gptq",
         "导出给其他运行时：gguf、onnx、compressed-tensors、gptq"),
    Verb("evaluate", "danlu.recipes.evaluating.evaluate", "evaluate",
         "measure a model on a text, with intervals", "在文本上评测模型，给出置信区间"),
    Verb("chat", "danlu.recipes.using.chat", "chat",
         "complete text and fill masks in the terminal", "在终端里续写文本、填充掩码"),
    Verb("estimate", "danlu.recipes.estimating.estimate", "estimate",
         "time, memory and disk of a run, before it", "运行之前估计时间、内存与磁盘"),
    Verb("verify", "danlu.recipes.looking.verify", "verify",
         "prove that a run resumes exactly, that a model is unchanged", "证明运行可精确恢复、模型未被改动"),
    Verb("doctor", "danlu.recipes.looking.doctor", "doctor",
         "what this machine and installation offer", "检查本机与安装环境"),
    Verb("explain", "danlu.recipes.looking.explain", "explain",
         "what an error number means", "解释错误编号"),
    Verb("schema", "danlu.recipes.looking.explain", "schema",
         "every setting of a verb as JSON Schema, for editors", "以 JSON Schema 列出某个动词的全部设置"),
    Verb("ls", "danlu.recipes.looking.listing", "listing",
         "list models or runs", "列出模型或运行"),
    Verb("convert", "danlu.recipes.using.convert", "convert",
         "turn a folder with pickled weights into safetensors", "把 pickle 权重文件夹转换为 safetensors"),
)  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 our failure, 2 the user's mistake, 130 stopped."""
    language, rest = heard(sys.argv[1:] if words is None else words)
    return answer_for(lambda: dispatch(rest, Voice(language)), rest, Voice(language))


def dispatch(words: Sequence[str], voice: Voice) -> int:
    """Show help, or find the verb and perform it."""
    name, *rest = words or ["--help"]
    if name == "--version":
        print(f"danlu {__version__}")
    elif name in HELP:
        print(page(find_verb(rest[0]), voice.language) if rest else overview(voice.language))
    elif HELP & set(rest):
        print(page(find_verb(name), voice.language))
    else:
        return perform(find_verb(name), rest, voice)
    return 0


def find_verb(name: str) -> Verb:
    """E1001 where there is none of that name."""
    verbs = {verb.name: verb for verb in VERBS}
    if name not in verbs:
        raise DanluError("E1001", word=name, possible=list(verbs), nearest=nearest(name, verbs))
    return verbs[name]


def heard(words: Sequence[str]) -> tuple[Language, list[str]]:
    """The language asked for by `lang=` anywhere, else the system's; and the other words."""
    language, rest = system_language(), list(words)
    for place, word in enumerate(words):
        name, equals, value = word.lstrip("-").partition("=")
        taken = 1 if equals else 2
        if name == "lang" and (choice := value if equals else "".join(words[place + 1 : place + 2])) in ("en", "zh"):
            language, rest = ("zh" if choice == "zh" else "en"), [*words[:place], *words[place + taken :]]
    return language, rest


def perform(verb: Verb, words: Sequence[str], voice: Voice) -> int:
    """Import what the verb needs and call it."""
    from danlu.recipes.runs.call import Call
    from danlu.settings import parse_words, renamed

    start = time.monotonic()
    plain, settings = parse_words(words, FLAGS)
    settings["lang"] = settings.get("lang", voice.language)
    for typed, ours in renamed(words).items():
        voice.say(f"{typed} is called {ours} here", f"{typed} 在这里称为 {ours}")
    dry_run, as_json = settings.pop("dry_run", False) is True, settings.pop("json", False) is True
    function: Callable[[Call], Answer] = getattr(import_module(verb.module), verb.function)
    answer = function(Call(tuple(plain), settings, voice, dry_run))
    if as_json:
        said = {"verb": verb.name, "run": answer.run, "passed": answer.passed, "metrics": dict(answer.metrics)}
        say_json(said | {"files": list(answer.files), "seconds": round(time.monotonic() - start, 3)})
    return 0 if answer.passed else FAILURE


def answer_for(work: Callable[[], int], words: Sequence[str], voice: Voice) -> int:
    """Do the work; whatever goes wrong becomes a few calm words and an exit status."""
    try:
        return work()
    except DanluError as error:
        print(error.render(voice.language), file=sys.stderr)
        if "--json" in words:
            say_json({"error": error.code, "text": error.render(voice.language)})
        return MISTAKE
    except KeyboardInterrupt as stop:
        say_stopped(stop, voice)
        return STOPPED
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        note = Path(tempfile.gettempdir()) / f"danlu-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
        note.write_text(f"danlu {__version__}: {list(words)}\n{traceback.format_exc()}", encoding="utf8")
        unforeseen = DanluError("E1003", found=f"{type(error).__name__}: {error}", note=note)
        print(unforeseen.render(voice.language), file=sys.stderr)
        return FAILURE


def say_json(data: dict[str, Any]) -> None:
    """One JSON object on the last line of stdout, for scripts; what is no number there is null."""
    print(json.dumps(_finite(data), ensure_ascii=False, default=str), flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say_stopped(stop: BaseException, voice: Voice) -> None:
    if advice := getattr(stop, "advice", ""):
        voice.say(f"\nstopped; go on with:  {advice}", f"\n已停止；继续请运行：  {advice}")
    else:
        voice.say("\nstopped", "\n已停止")


def overview(language: Language) -> str:
    """What `danlu --help` shows."""
    width = max(len(verb.name) for verb in VERBS) + 2
    lines = [f"  {verb.name:<{width}}{verb.line(language)}" for verb in VERBS]
    text: str = help_pages()["danlu"][language]
    return text.replace("{version}", __version__).replace("{verbs}", "\n".join(lines))


def page(verb: Verb, language: Language) -> str:
    """What `danlu VERB --help` shows: use, settings, examples."""
    pages = help_pages()
    entry, shared = pages[verb.name], pages["settings"]
    titles = {"en": ("settings:", "for every verb:", "examples:"), "zh": ("设置：", "所有动词通用：", "示例：")}[
        language
    ]
    settings = [(setting, text[language]) for setting, text in entry.get("settings", {}).items()]
    common = [(setting, text[language]) for setting, text in shared.items()]
    parts = [f"danlu {entry['use']}\n\n{verb.line(language)}", entry[language].strip()]
    parts += [_table(title, rows) for title, rows in zip(titles, (settings, common), strict=False) if rows]
    parts.append(titles[2] + "\n" + "\n".join(f"  {example}" for example in entry["examples"]))
    return "\n\n".join(parts)


def help_pages() -> dict[str, Any]:
    text = files("danlu").joinpath("help.yaml").read_text(encoding="utf8")
    pages: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return pages


def _table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows) + 2
    return f"{title}\n" + "\n".join(f"  {name:<{width}}{text}" for name, text in rows)
