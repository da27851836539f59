"""A build in a process of its own that encodes a batch for each line on its stdin: for tests that kill it midway."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from indexing.build import BuildSettings, build
from retrieval.store import CollectionStore
from retrieval.types import Role, Vectors
from tests.fake_models import FakeEncoder


class Waiting(FakeEncoder):
    """Waits for leave before each batch."""

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        sys.stdin.readline()
        return super().encode(texts, role)


def main(home: str, source: str) -> None:
    build(
        [Path(source)],
        "docs",
        store=CollectionStore(Path(home) / "collections"),
        encoder=Waiting(),
        work=Path(home) / "builds",
        settings=BuildSettings(partition_documents=10),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
