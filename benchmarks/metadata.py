"""Times metadata columns: how fast they are written, and what a filter costs at every selectivity.

    python -m benchmarks.metadata --documents 10000000 --folder .riddle/bench/metadata

Documents are drawn from a fixed seed and bring five keys (keyword, integer, real, date, list of keywords), a fifth
of them an access list. Where the folder holds columns already only the reading is timed. ``first`` is a filter that
nothing is kept of, its columns in the page cache; ``kept`` is the same filter again. Beside some rows stands
``pyarrow``: pyarrow.compute over the same column, held in memory, one thread.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retrieval.bitmap import Bitmap
from retrieval.filters import Compare, Fields, Join, Scope
from retrieval.metadata import LiveMetadata, MetadataColumns, MetadataWriter, merged_facets

FIELDS: Fields = {"site": "keyword", "year": "number", "price": "number", "updated": "date", "tags": "keyword"}
SITES = {"one in 10,000": 0.0001, "one in 1,000": 0.001, "one in 100": 0.01, "one in 10": 0.1, "half": 0.5}
BLOCK = 65_536

Row = tuple[dict[str, Any], tuple[str, ...]]


def rows(documents: int, seed: int = 7) -> Iterator[list[Row]]:
    """Blocks of documents; the shares of ``SITES`` are exact in expectation, tags are one to three of 5,000, skewed."""
    rng = np.random.default_rng(seed)
    names, shares = [*SITES, "rest"], [*SITES.values(), 1 - sum(SITES.values())]
    tag_names = [f"tag {i}" for i in range(5000)]
    for start in range(0, documents, BLOCK):
        n = min(BLOCK, documents - start)
        sites = rng.choice(len(names), n, p=shares).tolist()
        years = (2025 - np.minimum(rng.exponential(6, n), 35)).astype(int).tolist()
        prices = np.round(rng.lognormal(3, 1, n), 2).tolist()
        seconds = rng.integers(0, 20 * 365 * 86_400, n)
        updated = np.datetime_as_string(
            np.datetime64("2005-01-01T00:00:00") + seconds, unit="s", timezone="UTC"
        ).tolist()
        tags = np.minimum(rng.zipf(1.3, (n, 3)) - 1, 4999).tolist()
        many = rng.integers(1, 4, n).tolist()
        groups = rng.integers(0, 250, n).tolist()
        yield [
            (
                {
                    "site": names[sites[i]], "year": years[i], "price": prices[i], "updated": updated[i],
                    "tags": [tag_names[tag] for tag in tags[i][: many[i]]],
                },
                (f"group:{groups[i]}",) if groups[i] < 50 else (),
            )
            for i in range(n)
        ]  # fmt: skip


def write(folder: Path, documents: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    writer, wall, processor = MetadataWriter(folder, FIELDS), [0.0, 0.0], [0.0, 0.0]

    def timed(step: int, action: Callable[[], None]) -> None:
        began, used = time.perf_counter(), time.process_time()
        action()
        wall[step] += time.perf_counter() - began
        processor[step] += time.process_time() - used

    def add(block: list[Row]) -> None:
        for metadata, acl in block:
            writer.add(metadata, acl)

    for block in rows(documents):
        timed(0, partial(add, block))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    timed(1, writer.close)
    size = sum(path.stat().st_size for path in folder.iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, (adding, closing) in (("wall", wall), ("processor", processor)):
        rate = documents / (adding + closing)
        print(f"written at {rate:,.0f} documents/s of {name} time: add {adding:.1f} s, close {closing:.1f} s")
    print(f"{size / documents:.1f} bytes a document; peak memory {before >> 10} MB adding, {peak >> 10} MB in all")


def scopes() -> dict[str, Scope]:
    def of(*leaves: Compare) -> Scope:
        return Scope(leaves[0] if len(leaves) == 1 else Join("and", leaves))

    principals = frozenset({"public", "group:1", "group:2", "user:a"})
    return {
        **{f"eq, {name}": of(Compare("eq", "site", name)) for name in SITES},
        "ne, half": of(Compare("ne", "site", "half")),
        "eq in lists, frequent": of(Compare("eq", "tags", "tag 0")),
        "eq in lists, rare": of(Compare("eq", "tags", "tag 3000")),
        "in lists, 20 values": of(Compare("in", "tags", tuple(f"tag {i * 37}" for i in range(20)))),
        "integers >= 2024": of(Compare("gte", "year", 2024)),
        "reals < 2 (1 %)": of(Compare("lt", "price", 2)),
        "reals > 20 (half)": of(Compare("gt", "price", 20)),
        "dates, last month": of(Compare("gte", "updated", "2024-11-26")),
        "dates, last ten years": of(Compare("gte", "updated", "2014-12-29")),
        "four joined": of(
            Compare("eq", "site", "one in 10"), Compare("gte", "year", 2020), Compare("lt", "price", 50),
            Compare("gte", "updated", "2014-12-29"),
        ),
        "rights": Scope(principals=principals),
        "rights and a value": Scope(Compare("eq", "site", "one in 10"), principals),
    }  # fmt: skip


def ms(action: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def read(folder: Path, peers: dict[str, Callable[[], object]]) -> None:
    opening = ms(lambda: MetadataColumns(folder, FIELDS), 5)
    columns = MetadataColumns(folder, FIELDS)
    print(f"opened in {opening:.1f} ms\n\n| filter | selectivity | first, ms | kept, ms | pyarrow, ms |")
    print("|---|---|---|---|---|")
    for name, scope in scopes().items():
        found = columns.admitted(scope)
        assert found is not None
        first = statistics.median(ms(partial(MetadataColumns(folder, FIELDS).admitted, scope), 1) for _ in range(5))
        kept = ms(partial(columns.admitted, scope), 20)
        peer = f"{ms(peers[name], 5):.1f}" if name in peers else ""
        print(f"| {name} | {found.count() / columns.documents:.4%} | {first:.2f} | {kept:.3f} | {peer} |")
    print("\n| facet | all documents, ms | a tenth of them, ms |\n|---|---|---|")
    tenth = columns.admitted(Scope(Compare("eq", "site", "one in 10")))
    for key in FIELDS:
        times = [ms(partial(facet, columns, key, among), 3) for among in (None, tenth)]
        print(f"| {key} | {times[0]:.1f} | {times[1]:.1f} |")


def facet(columns: MetadataColumns, key: str, among: Bitmap | None) -> object:
    return merged_facets([columns.facets([key], among)], 20)


def in_pyarrow(documents: int) -> dict[str, Callable[[], object]]:
    """The same questions to pyarrow.compute over plain columns in memory."""
    pa.set_cpu_count(1)
    kept = {"site": pa.string(), "year": pa.int64(), "price": pa.float64()}
    chunks = {
        key: [pa.array([metadata[key] for metadata, _ in block], kind) for block in rows(documents)]
        for key, kind in kept.items()
    }
    table = {key: pa.concat_arrays(parts) for key, parts in chunks.items()}
    return {
        **{f"eq, {name}": partial(pc.equal, table["site"], name) for name in SITES},
        "integers >= 2024": partial(pc.greater_equal, table["year"], 2024),
        "reals < 2 (1 %)": partial(pc.less, table["price"], 2.0),
        "reals > 20 (half)": partial(pc.greater, table["price"], 20.0),
    }


def live(documents: int = 8192) -> None:
    columns, block = LiveMetadata(FIELDS), next(rows(documents))
    began = time.perf_counter()
    for metadata, acl in block:
        columns.append(metadata, acl)
    took = time.perf_counter() - began
    print(f"\nlive: {documents / took:,.0f} appended/s; a filter over {documents:,} documents, nothing kept, ms:")
    for name, scope in scopes().items():
        print(f"| {name} | {ms(partial(columns.admitted, scope, documents), 50):.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument(
        "--folder", type=Path, required=True, help="where the columns are written, below it nothing else"
    )
    parser.add_argument("--no-peer", action="store_true", help="leave out pyarrow, which needs memory and a minute")
    wanted = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; numpy {np.__version__}, ", end="")
    print(f"pyarrow {pa.__version__}")
    if not (wanted.folder / "columns.json").exists():
        write(wanted.folder, wanted.documents)
    read(wanted.folder, {} if wanted.no_peer else in_pyarrow(wanted.documents))
    live()


if __name__ == "__main__":
    main()
