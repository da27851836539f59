"""Fetches a generator and prints the folder that a generation server can serve it from.

python -m services.deploy.weights smollm2-135m-instruct
"""

from __future__ import annotations

import sys

from generation.weights import loadable_folder
from retrieval.errors import RiddleError


def main(arguments: list[str]) -> int:
    """The one argument is the model's name; the home folder is the settings'. Progress goes to stderr."""
    from services.models import pull
    from services.settings import environment, load

    if len(arguments) != 1:
        sys.stderr.write("usage: python -m services.deploy.weights MODEL\n")
        return 2
    try:
        home = load(None, environment()).settings.home
        folder = loadable_folder(pull(arguments[0], home))
    except (RiddleError, OSError) as error:
        sys.stderr.write(f"riddle: {error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
