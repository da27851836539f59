"""Compiles the kernels: one shared library for each instruction set, beside their sources.

    python -m retrieval._native.build      # what `pip install` does, after a change of the sources

Needs a C++17 compiler and nothing else: the libraries are loaded by ctypes and know nothing of Python.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"

_COMMON = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-shared",
    "-pthread",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-ffp-contract=off",
)
_X86 = {
    "avx2": ("-mavx2", "-mfma", "-mf16c", "-mbmi2", "-mpopcnt"),
    "avx512": (
        "-mavx2", "-mfma", "-mf16c", "-mbmi2", "-mpopcnt",
        "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512cd", "-mavx512vnni",
    ),
}  # fmt: skip


class CompilerFailed(Exception):
    """No compiler, or it refused; the text is one line for people."""


def levels() -> dict[str, tuple[str, ...]]:
    """Names of the libraries for this architecture, and the compiler's options of each."""
    return {"portable": (), **(_X86 if platform.machine() in {"x86_64", "AMD64"} else {})}


def compile_kernels(compiler: str | None = None, into: Path = HERE, *, extra: tuple[str, ...] = ()) -> list[Path]:
    """Compile every level into ``into`` and return the libraries. Raises CompilerFailed, leaving none behind.

    A library is replaced by renaming, so that programs which have the old one loaded are not disturbed.
    """
    found = compiler or next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), None)
    wanted = [into / f"kernels-{level}.so" for level in levels()]
    try:
        if found is None:
            raise CompilerFailed("no C++ compiler was found (g++, clang++ or c++)")
        with tempfile.TemporaryDirectory(dir=into) as aside:
            made = [_compile(found, level, options + extra, Path(aside)) for level, options in levels().items()]
            for path, library in zip(made, wanted, strict=True):
                path.replace(library)
    except CompilerFailed:
        for library in wanted:
            library.unlink(missing_ok=True)  # an old one would not fit the Python side
        raise
    return wanted


def _compile(compiler: str, level: str, options: tuple[str, ...], aside: Path) -> Path:
    output = aside / f"kernels-{level}.so"
    sources = sorted(str(path) for path in SOURCES.glob("*.cpp"))
    try:
        done = subprocess.run(
            [compiler, *_COMMON, *options, "-o", str(output), *sources], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise CompilerFailed(f"{compiler} cannot be run: {error}") from error
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise CompilerFailed(f"{compiler} failed for {level}: {first}")
    return output


if __name__ == "__main__":
    print(*compile_kernels(), sep="\n")
