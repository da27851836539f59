"""What an image needs of pyproject.toml: the services run without torch and what rests on it, `models` needs it.

    python services/deploy/requirements.py serve | models

Reads pyproject.toml of the working folder and prints requirements. Uses the standard library only,
for it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

TORCH = frozenset({"torch", "transformers", "sentence-transformers", "accelerate", "gguf"})
"""Needed for collections that name a sentence-transformers model, for answers in process, and to read GGUF."""


def needed(image: str, dependencies: list[str]) -> list[str]:
    """The dependencies that ``image``, ``serve`` or ``models``, installs. Raises KeyError for another."""
    left_out = {"serve": TORCH, "models": frozenset[str]()}[image]
    return [each for each in dependencies if name_of(each) not in left_out]


def name_of(requirement: str) -> str:
    """``torch`` of ``torch>=2.13,<2.14``."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return found.group(0).lower() if found else requirement


if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = project["optional-dependencies"]["mcp"] if sys.argv[1] == "serve" else []  # for agents, at /mcp
    print("\n".join([*needed(sys.argv[1], project["dependencies"]), *extra]))
