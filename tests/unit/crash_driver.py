"""Run by test_crash.py in a process of its own: writes generations that are killed, or that meet a full disk.

Each try is a fork, so that what is killed is a whole process and starting one costs nothing.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import hnswlib  # noqa: F401  here, so that the forks need not
import tantivy  # noqa: F401

from retrieval.analysis import analyse
from retrieval.batch import write_generation
from retrieval.errors import DiskFull, Unavailable
from retrieval.manifest import CollectionSettings
from retrieval.store import CollectionStore
from tests.fake_models import FakeEncoder
from tests.parts import numbered, part

OLD, NEW = 3, 40
EVENTS = frozenset({"os.rename", "os.mkdir", "open", "shutil.rmtree", "os.remove", "os.rmdir"})
"""Steps of a write that the interpreter announces before it takes them."""

ENCODER = FakeEncoder()


def write(root: Path, documents: int) -> None:
    parts = [part(numbered(range(first, first + 1)), ENCODER) for first in range(documents)]
    write_generation(
        CollectionStore(root), "docs", parts, encoder=ENCODER.spec, settings=CollectionSettings("HNSW16"), replace=True
    )


def dies_before(root: Path, step: int) -> None:
    """Write, and kill this process before the ``step``-th thing that it does below ``root``."""
    taken = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal taken
        if event in EVENTS and str(root) in str(arguments[0]):
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)
            taken += 1

    sys.addaudithook(count)
    write(root, NEW)


def meets_full_disk(root: Path, limit: int) -> None:
    """Write with no file allowed to grow beyond ``limit`` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write(root, NEW)
    except DiskFull:
        os._exit(28)


def may_not_write(root: Path) -> None:
    """Read, and try to write, as somebody who may only read."""
    write(root, OLD)
    CollectionStore(root).snapshot(
        "docs"
    )  # imports what it needs: that other user may not reach the interpreter's files
    for path in [root, *root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.getuid() == 0:
        os.setuid(65534)
    if len(CollectionStore(root).snapshot("docs").lexical("number1", 5)) != 1:
        os._exit(1)
    try:
        write(root, NEW)
    except Unavailable as error:
        os._exit(13 if "Permission denied" in str(error) else 1)


def in_fork(what: str, root: Path, number: int = 0) -> int:
    """The exit status of a forked process that does it: -9 when it was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        if what == "kill":
            dies_before(root, number)
        elif what == "deny":
            may_not_write(root)
        elif what == "full":
            meets_full_disk(root, number)
        else:
            write(root, OLD)
    except BaseException as error:  # the parent must go on  # noqa: BLE001
        os.write(2, f"{what} {number}: {error!r}\n".encode())
        os._exit(1)
    os._exit(0)


def main() -> None:
    """``kill|full|deny FOLDER NUMBER…``: prints each number with the exit status of the try, made in FOLDER/NUMBER."""
    what, folder, *numbers = sys.argv[1:]
    analyse("数据库")  # loads the dictionary once, not in every fork
    for number in numbers:
        root = Path(folder) / number
        in_fork("write", root)
        print(number, in_fork(what, root, int(number)), flush=True)


if __name__ == "__main__":
    main()
