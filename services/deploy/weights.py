"""Prints the folder that a generation server can serve a generator from, made from its GGUF file when missing.

python -m services.deploy.weights smollm2-135m-instruct
"""

from __future__ import annotations

import sys

from generation.weights import loadable_folder
from retrieval.errors import RiddleError
from retrieval.models import find_model
from services.settings import environment, load


def main(arguments: list[str]) -> int:
    """The one argument is the name of a model that `riddle models pull` has fetched."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m services.deploy.weights MODEL\n")
        return 2
    try:
        folder = loadable_folder(find_model(arguments[0], load(None, environment()).settings.home))
    except (RiddleError, OSError) as error:
        sys.stderr.write(f"riddle: {error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
