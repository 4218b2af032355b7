"""`danlu doctor`: what this machine and this installation offer."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from danlu import __version__
from danlu.kernels import status
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.machine import available_memory, processor, size_in_words, total_memory
from danlu.train.hardware import compute_precision

CORE = ("torch", "numpy", "safetensors", "tokenizers", "pydantic", "rich", "pyarrow", "huggingface_hub")
EXTRAS = {
    "tensorboard": ("danlu[track]", "curves in TensorBoard", "在 TensorBoard 中看曲线"),
    "jieba": ("danlu[zh]", "Chinese word segmentation", "中文分词"),
    "gguf": ("danlu[export]", "files for llama.cpp", "供 llama.cpp 使用的文件"),
    "onnxruntime": ("danlu[export]", "ONNX and its int8", "ONNX 及其 int8"),
    "transformers": ("transformers", "comparison with the reference", "与参考实现对照"),
}


def doctor(call: Call) -> Answer:
    """Print one line a fact; what is missing comes with the command that adds it."""
    call.build(Common)
    call.take()
    pick = call.voice.pick
    facts = {
        "danlu": f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        pick(
            "processor", "处理器"
        ): f"{processor()} ({pick('threads', '线程')} {torch.get_num_threads()}/{os.cpu_count()})",
        pick("vectors", "向量指令"): torch.backends.cpu.get_cpu_capability(),
        pick("kernels of codes", "编码内核"): " — ".join(each for each in status() if each),
        "bf16": pick("fast", "快速") if bf16_is_fast() else pick("no faster than float32", "不比 float32 快"),
        pick("memory", "内存"): f"{size_in_words(available_memory())} / {size_in_words(total_memory())}",
        pick("disk here", "当前磁盘"): f"{size_in_words(shutil.disk_usage(Path.cwd()).free)} {pick('free', '可用')}",
        pick("devices", "设备"): ", ".join(devices()) or pick("cpu only", "仅 cpu"),
        pick("packages", "软件包"): ", ".join(f"{name} {installed(name)}" for name in CORE),
    }
    for name, (package, en, zh) in EXTRAS.items():
        absent = pick(f"absent; pip install '{package}'", f"未安装；pip install '{package}'")
        facts[name] = f"{installed(name) or absent}  ({pick(en, zh)})"
    width = max(map(_columns, facts)) + 2
    for name, fact in facts.items():
        print(name + " " * (width - _columns(name)) + fact)
    broken = [name for name in CORE if installed(name) is None]
    metrics = {"threads": torch.get_num_threads(), "memory": available_memory(), "devices": devices()}
    extras = {name: installed(name) for name in (*CORE, *EXTRAS)}
    return Answer(metrics=metrics | {"packages": extras, "bf16": bf16_is_fast()}, passed=not broken)


def bf16_is_fast() -> bool:
    """Whether this processor multiplies bf16 natively, so that training uses it."""
    return compute_precision("auto", torch.device("cpu")) == torch.bfloat16


def devices() -> list[str]:
    """The accelerators torch sees, with their memory."""
    if not torch.cuda.is_available():
        return []
    every = [torch.cuda.get_device_properties(place) for place in range(torch.cuda.device_count())]
    return [f"cuda:{place} {one.name} {size_in_words(one.total_memory)}" for place, one in enumerate(every)]


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _columns(text: str) -> int:
    """Columns on a terminal, where a Chinese character takes two."""
    return sum(2 if ord(char) > 0x2E80 else 1 for char in text)
