"""How bytes get onto disk so that a crash or a full disk leaves either the old state or the new one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retrieval.errors import Conflict, DiskFull, Unavailable

_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HARDLY_ANY = 2**20
_OS_ERROR = re.compile(r"\(os error (\d+)\)|\bErrno (\d+)\b|\berrno:? (\d+)\b")


def is_disk_full(error: BaseException) -> bool:
    """Whether ``error`` says that there is no space; Rust and Arrow put the number into their message."""
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return True
    numbers = {int(number) for groups in _OS_ERROR.findall(str(error)) for number in groups if number}
    return bool(numbers & _NO_SPACE) or "No space left on device" in str(error)


@contextlib.contextmanager
def disk_full_said_plainly(what: str, folder: Path) -> Iterator[None]:
    """Turn the several ways in which libraries report a full disk into DiskFull, a folder not ours into Unavailable.

    tantivy's threads die of a full disk without saying why, so the free space of ``folder`` is looked at too.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        if is_disk_full(error) or (folder.exists() and shutil.disk_usage(folder).free < _HARDLY_ANY):
            raise DiskFull(
                f"no space left while writing {what}; what was there before is untouched: free some space and try again"
            ) from error
        if isinstance(error, OSError) and error.errno in _NOT_OURS:
            raise Unavailable(f"cannot write {what}: {error.strerror}: {error.filename or folder}") from error
        raise


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """fsync every file and folder below ``folder``, and itself."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_file(Path(root) / name)
        sync_file(Path(root))


def replace_json(path: Path, value: Any) -> None:
    """Write ``value`` beside ``path``, flush it, and put it in its place in one step."""
    aside = path.with_name(f".{path.name}.new")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync_file(path.parent)


def checksum(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def exclusive(lock: Path, conflict: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold ``lock`` against other threads and processes; the kernel lets go of it when the holder dies.

    Raises Conflict with the message ``conflict`` when someone else holds it, after ``wait_s`` seconds.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    ends, pause = time.monotonic() + wait_s, 0.0005
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= ends:
                    raise Conflict(conflict) from None
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        yield
    finally:
        os.close(descriptor)
