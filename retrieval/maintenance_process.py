"""The process that maintains one collection: python -m retrieval.maintenance_process COLLECTIONS NAME [SECONDS]

It gives way to searches before it loads anything, since to load takes a second.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from retrieval.errors import Conflict, RiddleError
from retrieval.giving_way import give_way
from retrieval.log import FOLDER, log_files

log = logging.getLogger("riddle.maintenance")

PRESSING = 4
"""Log files, of a block each, above which the work must go on even where searches want every processor."""
_LOOK_S = 0.5


def main(arguments: Sequence[str]) -> int:
    """Maintain one collection until for some seconds nothing is left to do; 0 when someone else does it too."""
    root, name, linger_s = Path(arguments[0]), arguments[1], float([*arguments, "0"][2])
    logs = root / name / FOLDER
    give_way(lambda: len(log_files(logs)) > PRESSING)
    from retrieval.maintenance import Nothing, maintain
    from retrieval.store import CollectionStore

    logging.basicConfig(format="%(asctime)s maintenance: %(message)s")
    logging.getLogger("riddle").setLevel(logging.INFO)
    try:
        collection = CollectionStore(root, Nothing()).open(name)
        maintain(collection)
        while _more(logs, linger_s):
            maintain(collection)
    except Conflict:
        return 0
    except RiddleError as error:
        log.error("%s: %s", name, error.detail)
        return 1
    return 0


def _more(logs: Path, linger_s: float) -> bool:
    """Whether a block is frozen before it is time to go."""
    ends = time.monotonic() + linger_s
    while len(log_files(logs)) < 2:
        if time.monotonic() > ends:
            return False
        time.sleep(_LOOK_S)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
