"""Builds the kernels in C when danlu is installed, where there is a C compiler.

Each path is compiled with the instructions it needs and no others; which one runs is decided when the program runs, so
that a wheel made on one processor works on all. Without a compiler danlu installs as it is, and says when it runs that
its products of codes go through torch.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOM = "src/danlu/kernels"
LIBRARY = "danlu_native.so"
# -fopenmp for compiling alone: the linker is not told of a runtime, so that the one torch has loaded is taken.
# Products and sums stay apart (-ffp-contract=off): every path then gives the same codes, to the bit.
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-fopenmp", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi")
AVX2 = ("-mavx2", "-mfma")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni", "-mprefer-vector-width=512")
PATHS: dict[str, tuple[str, ...]] = {"dispatch": (), "portable": ()}
if platform.machine().lower() in ("x86_64", "amd64"):
    PATHS |= {"avx2": AVX2, "avxvnni": (*AVX2, "-mavxvnni"), "avx512vnni": (*AVX2, *AVX512)}


class Kernels(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        made = Path(self.root) / ROOM / LIBRARY
        problem = compile_kernels(made)
        if problem:
            made.unlink(missing_ok=True)
            self.app.display_warning(f"danlu: no compiled kernels ({problem}); products of codes will go through torch")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"].append(f"{ROOM}/{LIBRARY}")


def compile_kernels(made: Path) -> str | None:
    """Compile and link; what went wrong, if something did."""
    compiler = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) or shutil.which("cc")
    if compiler is None:
        return "no C compiler"
    if sys.platform == "win32":
        return "not built on Windows"
    linking = ("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()
    source = made.parent / "native"
    with tempfile.TemporaryDirectory() as folder:
        objects = [str(Path(folder) / f"{name}.o") for name in PATHS]
        calls = [
            [compiler, *FLAGS, *flags, "-c", str(source / f"{name}.c"), "-o", target]
            for (name, flags), target in zip(PATHS.items(), objects, strict=True)
        ]
        linked = str(Path(folder) / LIBRARY)
        for call in (*calls, [compiler, "-shared", *linking, *objects, "-o", linked, "-lm"]):
            result = subprocess.run(call, capture_output=True, text=True, check=False)
            if result.returncode:
                return (result.stderr.strip().splitlines() or [f"{call[0]} failed"])[0]
        shutil.copy(linked, made.with_suffix(".new"))
        os.replace(made.with_suffix(".new"), made)
    return None
