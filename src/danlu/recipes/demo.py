"""`danlu demo`: the whole path on text and pictures that every machine has, in minutes.

A tokenizer, a small GPT, killed on the way and taken up again, a small BERT, fine-tuned and then compressed; a CLIP of
handwritten digits, and a model that says which way digits move; each with a report. The time of training is fixed, not
the number of steps, so that a slow machine is done in time as well.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet

from danlu.data.builtin_pictures import CHINESE, NAMES
from danlu.data.pictures.pairs import picture_file
from danlu.data.pictures.settings import PictureSettings
from danlu.data.sources import DataSettings, sources
from danlu.errors import DanluError
from danlu.generate.answer import Answerer
from danlu.generate.matching import Matcher
from danlu.recipes.compressing.compress import compress
from danlu.recipes.finetuning.finetune import finetune
from danlu.recipes.pretraining.pretrain import pretrain
from danlu.recipes.runs.call import Answer, Call, Common, Stopped
from danlu.recipes.runs.folder import Run, folder_problems, next_free
from danlu.recipes.runs.machine import size_in_words
from danlu.recipes.starting.start import load_engine
from danlu.recipes.using.load import put_to_use
from danlu.settings import Data
from danlu.train.log import read_lines
from danlu.voice import Voice

TEXT = "builtin:english"
ROWS, PICTURES, FILMS = "builtin:packages", "builtin:digits", "builtin:films"
HELD, SHOWN = 0.1, 6  # of pictures: the share to measure by, and how many are named
MINUTES = {"mini": 1.3, "tiny": 0.25}  # of pretraining, for each of two models
LEARNING = {"mini": 0.5, "tiny": 0.15}  # of fine-tuning
KILLED = 0.4  # of that time, when the first model's process is killed
PATIENCE = 600  # seconds until its first step must be done
LOOKING = {"mini": 0.4, "tiny": 0.1}  # at pictures, and as long at films
RUNS = ("gpt", "bert", "packages", "small", "digits", "films")
PROMPTS = ("the handwritten digit {name}", "手写数字{name}")
BLOCKS = "█▇▆▅▄▃▂▁"[::-1]
BEGINNINGS = ("The function returns", "If the file does not exist", "This class")
SENTENCE = "Applies a convolution over an input signal composed of several planes."
BLANKS = ("Return the number of [MASK] in the list.", "This method is called [MASK] the file is closed.")


class Demo(Common):
    """quick: smaller models and less time."""

    quick: bool = False


def demo(call: Call) -> Answer:
    """The verb."""
    settings = call.build(Demo)
    call.take()
    name = Path(settings.output or "runs/demo")
    for problem in folder_problems(name):
        raise problem
    if call.dry_run:
        return call.rehearse(settings)
    size, start, say = "tiny" if settings.quick else "mini", time.monotonic(), call.voice.say
    runs = tuple(next_free(name.with_name(f"{name.name}-{each}")) for each in RUNS)
    gpt, bert, task, small, digits, films = runs
    try:
        say("1/8  English text from this machine's own documentation", "1/8  收集本机自带文档中的英文文本")
        found = sources([TEXT], DataSettings())
        say(f"     {found[0].path.stat().st_size / 1e6:.1f} MB", f"     {found[0].path.stat().st_size / 1e6:.1f} MB")
        say("2/8  a tokenizer and a small GPT, from nothing", "2/8  从零训练分词器和一个小 GPT")
        interrupted(gpt, words(f"gpt-{size}", gpt, size), MINUTES[size] * 60 * KILLED, call.voice)
        say("3/8  the same command again: the run goes on where it was", "3/8  再次运行同一命令：从中断处继续")
        pretrain(Call((str(gpt),), {}, call.voice))
        say("4/8  a small BERT, from nothing", "4/8  从零训练一个小 BERT")
        bert_words, bert_settings = words(f"bert-{size}", bert, size)
        pretrain(Call(bert_words, bert_settings, call.voice))
        say("5/8  the BERT learns whose function a sentence describes", "5/8  教 BERT 判断一句说明属于哪个软件包的函数")
        learning = {"output": str(task), "train": {"minutes": LEARNING[size]}, "embeddings": True}
        finetune(Call((str(bert), ROWS), learning, call.voice))
        say("6/8  the same model in a quarter of the bytes", "6/8  把同一个模型压缩到四分之一大小")
        compress(Call((str(task),), {"output": str(small), "quantize": "int8"}, call.voice))
        say("7/8  a small CLIP learns digits by captions in two languages", "7/8  小 CLIP 通过中英文说明认识手写数字")
        looking = {"train": {"minutes": LOOKING[size], "evaluate_every": 200}}
        captions = {"text": "en|zh", "held_out": HELD}
        pretrain(Call(("clip-tiny", PICTURES), {"output": str(digits), "data": captions, **looking}, call.voice))
        say("8/8  a small model that sees learns which way digits move", "8/8  能看图的小模型学习判断数字移动的方向")
        moving = {"output": str(films), "data": {"frames": 4}, **looking}
        finetune(Call(("palm-vision-tiny", FILMS), moving, call.voice))
    except KeyboardInterrupt:
        raise Stopped("danlu demo") from None
    show(gpt, bert, call.voice)
    show_task(task, small, call.voice)
    show_pictures(digits, films, call.voice)
    close(gpt, runs, call.voice)
    metrics = {each: run.metrics for each, run in zip(RUNS, runs, strict=True)}
    files = tuple(run.path / "report.html" for run in runs)
    return Answer(gpt.path, metrics | {"seconds": time.monotonic() - start}, files)


def words(start: str, run: Run, size: str) -> tuple[tuple[str, str], Data]:
    """The call that trains one of the models."""
    train = {"minutes": MINUTES[size], "save_every": 20, "evaluate_every": 100}
    return (start, TEXT), {"output": str(run), "train": train}


def interrupted(run: Run, planned: tuple[tuple[str, str], Data], seconds: float, voice: Voice) -> None:
    """Begin a run in its own process and kill it after so many seconds of training. E1812 where it ends by itself."""
    plain, settings = planned
    train = [f"train.{name}={value}" for name, value in settings["train"].items()]
    command = [sys.executable, "-m", "danlu", "pretrain", *plain, f"output={run}", *train, f"lang={voice.language}"]
    stream = subprocess.DEVNULL if voice.quiet else None
    with subprocess.Popen(command, stdout=stream, stderr=stream) as child:
        try:
            begun = time.monotonic()
            while child.poll() is None and trained(run) < seconds and time.monotonic() - begun < PATIENCE:
                time.sleep(0.2)
        finally:
            alive = child.poll() is None
            if alive:
                os.kill(child.pid, signal.SIGKILL)
    if not alive:
        raise DanluError("E1812", where=run, found=child.returncode)
    done = len(run.history.steps)
    voice.say(
        f"\n     killed (SIGKILL) after {done:,} steps, as a power cut would do it",
        f"\n     已在第 {done:,} 步之后强行终止（SIGKILL），如同突然断电",
    )


def trained(run: Run) -> float:
    """Seconds of training that a run has logged so far."""
    try:
        lines = read_lines(run.path / "metrics.jsonl")
    except ValueError:
        return 0.0
    return max((line.get("seconds") or 0.0 for line in lines), default=0.0)


def show(gpt: Run, bert: Run, voice: Voice) -> None:
    """What the two models have learnt."""
    for name, run in (("GPT", gpt), ("BERT", bert)):
        losses = run.history.curve("loss")[1]
        print(f"\n{name}  {voice.pick('loss', '损失')} {losses[0]:.2f} {sparkline(losses)} {losses[-1]:.2f}")
    writer, reader = load_engine(gpt.path.as_posix()), load_engine(bert.path.as_posix())
    print(voice.pick("\nThe GPT goes on from:", "\nGPT 的续写："))
    for beginning in BEGINNINGS:
        text = writer.generate(beginning, max_new_tokens=30, temperature=0.7, top_p=0.9)
        print(f"  {beginning}{text}".replace("\n", " "))
    print(voice.pick("\nThe BERT fills in:", "\nBERT 的填空："))
    for blank in BLANKS:
        guesses = "  ".join(f"{fill.token} {fill.probability:.0%}" for fill in reader.fill(blank, top=4)[0])
        print(f"  {blank}  {guesses}")


def show_task(task: Run, small: Run, voice: Voice) -> None:
    """What the fine-tuned model answers, as it is and compressed."""
    print(voice.pick(f"\nThe BERT, fine-tuned, reads: {SENTENCE}", f"\n微调后的 BERT 读到：{SENTENCE}"))
    for run in (task, small):
        model = put_to_use(run.path.as_posix())
        assert isinstance(model, Answerer)
        answer = model.classify(SENTENCE)
        size = size_in_words((run.model / "model.safetensors").stat().st_size)
        right = voice.pick(f"right {run.metrics['accuracy']:.0%}", f"正确率 {run.metrics['accuracy']:.0%}")
        print(f"  {run.path.name:<18} {size:>8}  {right}   {answer.value} {answer.chance:.0%}")


def show_pictures(digits: Run, films: Run, voice: Voice) -> None:
    """What the CLIP calls some digits, in both languages, and how well the other knows where they go."""
    matcher = put_to_use(digits.path.as_posix())
    assert isinstance(matcher, Matcher)
    table = pyarrow.parquet.read_table(picture_file(PICTURES, PictureSettings().cache_folder))
    rows = table.slice(0, SHOWN).to_pylist()
    pictures = [row["image"] for row in rows]
    asked = zip((NAMES, CHINESE), PROMPTS, strict=True)
    said = [matcher.name(pictures, names, (prompt,)) for names, prompt in asked]
    right = f"{digits.metrics['text_r1']:.0%}"
    print(voice.pick(f"\nThe CLIP finds the right caption for {right}:", f"\nCLIP 为 {right} 的图片找到正确说明："))
    for row, *names in zip(rows, *said, strict=True):
        print(f"  {row['label']:<6} → {'  '.join(names)}")
    measures = "  ".join(f"{name} {films.metrics[name]:.0%}" for name in ("accuracy", "swapped", "prior"))
    print(voice.pick(f"Films, answers: {measures}", f"影片问答：{measures}"))


def close(first: Run, runs: Sequence[Run], voice: Voice) -> None:
    """Where everything lies, and what to type next."""
    reports = "\n              ".join(str(run.path / "report.html") for run in runs)
    voice.say(
        f"\nreports:      {reports}\n"
        f"talk to it:   danlu chat {first}\nyour own:     danlu pretrain gpt-mini YOUR.txt\n"
        f"              danlu finetune minilm YOUR.csv\neverything:   danlu --help",
        f"\n报告：        {reports}\n"
        f"与它对话：    danlu chat {first}\n用自己的文本：danlu pretrain gpt-mini 你的.txt\n"
        f"              danlu finetune minilm 你的.csv\n全部功能：    danlu --help",
    )


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """A curve in one line of text."""
    count = min(width, len(values))
    parts = [values[at * len(values) // count : (at + 1) * len(values) // count] for at in range(count)]
    means = [sum(part) / len(part) for part in parts]
    low, span = min(means), max(means) - min(means) or 1.0
    return "".join(BLOCKS[min(int((mean - low) / span * len(BLOCKS)), len(BLOCKS) - 1)] for mean in means)
