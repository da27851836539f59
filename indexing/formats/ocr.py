"""Reads pictures of pages with tesseract, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import cache

from retrieval.errors import SourceUnreadable

Recognise = Callable[[bytes], str]
"""Turns the picture of one page, as PNG, into text; raises SourceUnreadable."""

PAGE_TIMEOUT_S = 180
_WANTED = ("eng", "chi_sim", "chi_tra")


@cache
def tesseract(program: str = "tesseract") -> Recognise | None:
    """A reader of pages, in English and Chinese as far as its data is installed; None without the program."""
    path = shutil.which(program)
    if path is None:
        return None
    listed = subprocess.run([path, "--list-langs"], capture_output=True, text=True, timeout=30, check=False)
    known = set((listed.stdout + listed.stderr).split())
    languages = "+".join(name for name in _WANTED if name in known)
    options = ["-l", languages] if languages else []

    def recognise(png: bytes) -> str:
        try:
            done = subprocess.run(
                [path, "stdin", "stdout", *options], input=png, capture_output=True, timeout=PAGE_TIMEOUT_S, check=False
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            raise SourceUnreadable(f"tesseract failed on a page ({error})") from error
        if done.returncode:
            raise SourceUnreadable(f"tesseract failed on a page ({done.stderr.decode(errors='replace').strip()[:200]})")
        return done.stdout.decode("utf-8", errors="replace")

    return recognise
