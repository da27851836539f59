"""Writing a lexical index passage by passage, in this process or shared out over several."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType

from retrieval.analysis import Analysis, default_analysis
from retrieval.lexical_part import COLUMNS_FILE, Block, PartWriter, join
from retrieval.lexical_tags import Tagger
from retrieval.types import Metadata

_BLOCK = 2000
_NOTHING: Metadata = MappingProxyType({})


class LexicalWriter:
    """Writes a new index into a folder that it makes, one passage after the other; rows count from 0.

    With ``workers`` above one, as many processes analyse and index blocks of passages in turn and each writes a
    part; ``close`` makes one index of the parts. Left by an error, it ends its processes and writes no index.
    """

    def __init__(self, folder: Path, analysis: Analysis | None = None, *, workers: int = 1) -> None:
        analysis = analysis or default_analysis()
        self._folder = folder
        self._tagger = Tagger()
        self._rows = 0
        self._block = Block(0)
        self._part: PartWriter | None = None
        self._workers: list[_Worker] = []
        if workers > 1:
            folder.mkdir()
            self._workers = [_Worker(folder / f"part-{number}", analysis) for number in range(workers)]
        else:
            self._part = PartWriter(folder, analysis)

    def add(
        self, title: str, headings: Sequence[str], text: str, metadata: Metadata = _NOTHING, acl: Sequence[str] = ()
    ) -> None:
        """``text`` is the passage with the context it carries; metadata and access list are its document's."""
        tags, numbers = self._tagger(metadata, acl)
        row, self._rows = self._rows, self._rows + 1
        if self._part:
            self._part.add(row, title, headings, text, tags, numbers)
            return
        self._block.add(title, headings, text, tags, numbers)
        if len(self._block.texts) == _BLOCK:
            self._send()

    def close(self) -> None:
        """Raises OSError when a worker failed, which has written why to stderr."""
        if self._part:
            self._part.close()
        else:
            if self._block.texts:
                self._send()
            for worker in self._workers:
                worker.send(None)
            for worker in self._workers:
                worker.wait()
            join([worker.folder for worker in self._workers], self._folder)
        (self._folder / COLUMNS_FILE).write_text(
            json.dumps({key: [column.name, column.tags] for key, column in self._tagger.columns.items()})
        )

    def _send(self) -> None:
        self._workers[(self._rows - 1) // _BLOCK % len(self._workers)].send(self._block)
        self._block = Block(self._rows)

    def __enter__(self) -> LexicalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self.close()
            finally:
                self._abandon()
        else:
            with suppress(ValueError, OSError):
                if self._part:
                    self._part.abandon()
            self._abandon()

    def _abandon(self) -> None:
        for worker in self._workers:
            worker.kill()


class _Worker:
    """A process that writes one part; ends by itself when its input does."""

    def __init__(self, folder: Path, analysis: Analysis) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "retrieval.lexical_part", str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        self.send(analysis.settings)

    def send(self, what: object) -> None:
        """Waits while the worker is busy and the pipe is full, so that memory stays bounded."""
        assert self._process.stdin is not None
        pickle.dump(what, self._process.stdin, pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()

    def wait(self) -> None:
        code = self._process.wait()
        if code:
            raise OSError(f"the process that wrote {self.folder} ended with {code}")

    def kill(self) -> None:
        """Nothing happens to a process that has ended."""
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        with suppress(OSError):  # what was not sent yet finds no reader
            self._process.stdin.close()
