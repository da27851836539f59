"""Writes the files of a multipart upload under one folder as the bytes come in, within limits, under safe names."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from retrieval.errors import BadSyntax, InvalidRequest, TooLarge
from services.jobs.store import space_needed

MAX_PART_BYTES = 200
"""Longest name of one file or folder, UTF-8; file systems end at 255."""
MAX_DEPTH = 12
MAX_FIELD_BYTES = 4096

OpenFile = Callable[[Path], BinaryIO]


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What one upload, and the queue, may hold."""

    max_files: int = 5000
    max_bytes: int = 1024**3
    max_waiting: int = 32
    """Unfinished jobs after which new ones are refused."""


@dataclass(slots=True)
class Received:
    """What an upload held: its plain fields, and the paths of its files relative to the folder."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    bytes: int = 0


def open_new(path: Path) -> BinaryIO:
    """Open a file that must not exist yet for writing."""
    return path.open("xb")


def safe_name(raw: str) -> str:
    """A relative path that stays below its folder, from what a client calls a file.

    Sub-folders of a dropped folder are kept; ``..``, roots, drive separators, control characters
    and over-long names are not. Raises InvalidRequest when nothing is left.
    """
    parts: list[str] = []
    for part in unicodedata.normalize("NFC", raw).replace("\\", "/").split("/"):
        plain = "".join(sign for sign in part if sign.isprintable()).strip()
        if plain.strip("."):
            parts.append(_shortened(plain))
    if not parts:
        raise InvalidRequest("A file came without a usable name; give it one and send it again.")
    return "/".join(parts[-MAX_DEPTH:])


def _shortened(name: str) -> str:
    if len(name.encode()) <= MAX_PART_BYTES:
        return name
    suffix = PurePosixPath(name).suffix
    if len(suffix.encode()) > 20:
        suffix = ""
    room = MAX_PART_BYTES - len(suffix.encode())
    return name.encode()[:room].decode("utf-8", "ignore") + suffix


class _Receiver:
    """Callbacks of the multipart parser. Runs in a worker thread, one call at a time.

    Once the upload is over a limit its bytes are read and thrown away, so that the client, which
    is still sending, gets to read the answer.
    """

    def __init__(self, folder: Path, limits: JobLimits, open_file: OpenFile) -> None:
        self.received = Received()
        self.refusal: TooLarge | None = None
        self._folder, self._limits, self._open_file = folder, limits, open_file
        self._taken: set[str] = set()
        self._file: BinaryIO | None = None
        self._header, self._value, self._disposition = b"", b"", b""
        self._field, self._text = "", bytearray()
        self._ended = False

    def parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def close(self) -> None:
        if self._file is not None:
            with space_needed("the upload"):
                self._file.close()
            self._file = None

    def finish(self) -> Received:
        if self.refusal is not None:
            raise self.refusal
        if not self._ended:
            raise BadSyntax("The upload ended in the middle; send it again.")
        return self.received

    def _begin(self) -> None:
        self._disposition, self._field, self._text = b"", "", bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename")
        if name is None:
            self._field = _text(options.get(b"name", b""))
        elif name and self.refusal is None:  # a file field left empty in a form comes with an empty name
            self._start_file(_text(name))

    def _start_file(self, name: str) -> None:
        if len(self.received.files) >= self._limits.max_files:
            self.refusal = TooLarge(
                f"More than {self._limits.max_files} files in one upload; send them in several, or use `riddle build`."
            )
            return
        relative = self._free(safe_name(name))
        target = self._folder / relative
        with space_needed("the upload"):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._open_file(target)
        self.received.files.append(relative)

    def _free(self, relative: str) -> str:
        """``relative``, numbered when a file or folder of this upload has that name already."""
        path, number = PurePosixPath(relative), 1
        files = set(self.received.files)
        parents = [str(parent) for parent in path.parents][:-1]
        if any(parent in files for parent in parents):
            path = PurePosixPath(path.name)
        free = path
        while str(free) in self._taken:
            number += 1
            free = path.with_name(f"{path.stem} ({number}){path.suffix}")
        self._taken.update(str(each) for each in [free, *list(free.parents)[:-1]])
        return str(free)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self.received.bytes += end - start
            with space_needed("the upload"):
                self._file.write(memoryview(data)[start:end])
        elif self._field:
            self._text += data[start:end]
            if len(self._text) > MAX_FIELD_BYTES:
                self.refusal = TooLarge(f"The field {self._field!r} is longer than {MAX_FIELD_BYTES} bytes.")
                self._field = ""

    def _on_part_end(self) -> None:
        if self._field:
            self.received.fields[self._field] = _text(bytes(self._text))
        self._field = ""
        self.close()

    def _on_end(self) -> None:
        self._ended = True


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def too_large(limits: JobLimits) -> TooLarge:
    """The refusal of an upload over the limit on bytes."""
    mib = limits.max_bytes / 1024**2
    return TooLarge(
        f"The upload is over the limit of {mib:,.0f} MiB; send the files in several, or use `riddle build`."
    )


async def receive(
    stream: AsyncIterator[bytes],
    content_type: str,
    folder: Path,
    limits: JobLimits,
    open_file: OpenFile = open_new,
) -> Received:
    """Write the files of a ``multipart/form-data`` body below ``folder``, which exists and is empty.

    Raises BadSyntax when the body is broken or ends early, TooLarge over a limit, DiskFull, and
    InvalidRequest for a file without a name. What was written until then is left to the caller.
    """
    _, options = parse_options_header(content_type)
    if b"boundary" not in options:
        raise BadSyntax("The multipart body has no boundary in its Content-Type.")
    receiver = _Receiver(folder, limits, open_file)
    size = 0
    try:
        parser = receiver.parser(options[b"boundary"])
        async for block in stream:
            size += len(block)
            if size > limits.max_bytes:
                raise too_large(limits)
            await asyncio.to_thread(parser.write, block)
    except FormParserError as error:
        raise BadSyntax(f"The multipart body cannot be read: {error}.") from error
    except ClientDisconnect as error:
        raise BadSyntax("The client left before the upload was complete.") from error
    finally:
        receiver.close()
    return receiver.finish()
