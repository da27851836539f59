"""What a spec string of a vector index means, which index suits how many passages, and what each costs in memory."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, cast

from retrieval.errors import InvalidRequest

Family = Literal["Flat", "HNSW", "Graph", "IVF"]
Refine = Literal["", "SQ8", "SQfp16"]

FLAT_BELOW = 20_000
"""``auto`` scans exactly below this many passages: 0.4 ms of one AVX2 thread at 384 dimensions, nothing to build."""

GRAPH_BELOW = 3_000_000
"""``auto`` builds no graph beyond: it takes hours there, and half an hour of one core already here."""

TRAINING_PER_LIST = 32
"""Fewer vectors than this for each list make centroids that are little more than some of the vectors."""

SMALLEST_GRAPH = 256
"""Below this many vectors there is nothing to train or to link."""

_GRAMMAR = re.compile(
    r"(?:Flat|HNSW(?P<links>[2-9]|[1-9][0-9])(?P<sq>,SQ8)?|Graph(?P<degree>[4-9]|[1-9][0-9]),SQ8|"
    r"IVF(?P<lists>[1-9][0-9]{0,5}),(?P<codec>SQ8|PQ(?P<parts>[1-9][0-9]{0,3})x4fsr?|RaBitQ(?:fs)?))(?:,Refine\((?P<refine>SQ8|SQfp16)\))?"
)
_KNOWN = (
    "auto, Flat, HNSW<links>, HNSW<links>,SQ8, Graph<links>,SQ8, IVF<lists>,SQ8, IVF<lists>,PQ<parts>x4fs, "
    "IVF<lists>,PQ<parts>x4fsr, IVF<lists>,RaBitQ or IVF<lists>,RaBitQfs, each but auto with ,Refine(SQ8) or "
    ",Refine(SQfp16) behind it if wanted, such as IVF4096,PQ96x4fsr,Refine(SQ8)"
)


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec string taken apart; ``str`` puts it together again."""

    family: Family
    links: int = 0
    """HNSW: neighbours of a node above the ground level, which has twice as many. Graph: neighbours of a node."""
    lists: int = 0
    """IVF: how many lists."""
    codec: str = ""
    """How the index itself holds vectors: empty for as they come, ``SQ8``, ``PQ96x4fsr``, ``RaBitQfs``."""
    parts: int = 0
    """PQ: sub-vectors of 4 bits each."""
    refine: Refine = ""
    """What the best candidates are scored again by: ``SQ8`` (int8 and a scale a vector) or ``SQfp16``."""

    @property
    def keeps(self) -> Literal["SQ8", "SQfp16"]:
        """The precision in which an index of this spec keeps its vectors, and gives them back."""
        return self.refine or ("SQ8" if self.codec == "SQ8" else "SQfp16")

    def __str__(self) -> str:
        head = {"Flat": "Flat", "IVF": f"IVF{self.lists}"}.get(self.family, f"{self.family}{self.links}")
        return ",".join(filter(None, (head, self.codec, f"Refine({self.refine})" if self.refine else "")))


@dataclass(frozen=True, slots=True)
class Choice:
    """The index that a segment gets, and the reason in words."""

    spec: str
    why: str


def parse_spec(text: str) -> Spec:
    """Raises InvalidRequest for what is no spec; ``auto`` is none."""
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"unknown vector index {text!r}: use {_KNOWN}")
    links, sq, degree, lists, codec, parts = found.group("links", "sq", "degree", "lists", "codec", "parts")
    refine = cast(Refine, found["refine"] or "")
    family: Family = "HNSW" if links else "Graph" if degree else "IVF" if lists else "Flat"
    codec = codec or ("SQ8" if sq or degree else "")
    return Spec(family, int(links or degree or 0), int(lists or 0), codec, int(parts or 0), refine)


def resolve(
    spec: str, passages: int, dimension: int, *, memory_bytes: int | None = None, recall: float = 0.95
) -> Choice:
    """The index for a segment of ``passages`` vectors of ``dimension`` numbers.

    ``memory_bytes`` is what it may hold in memory of its own (mapped vectors apart); ``recall`` what recall@10 it is
    to reach. ``auto`` chooses; what is written out is taken as it is where there are vectors enough to build it, and
    gives way to ``auto`` where not. Raises InvalidRequest for an unknown spec, and for parts that do not divide the
    dimension.
    """
    if spec == "auto":
        return _choose(passages, dimension, memory_bytes, recall)
    wanted = parse_spec(spec)
    if wanted.parts and dimension % wanted.parts:
        raise InvalidRequest(f"{spec}: {wanted.parts} parts do not divide {dimension} dimensions")
    if passages >= smallest(wanted):
        return Choice(spec, "as the collection's settings say")
    instead = _choose(passages, dimension, memory_bytes, recall)
    fitting = parse_spec(instead.spec)
    if wanted.keeps == "SQ8":  # what was kept as bytes cannot become finer
        fitting = replace(fitting, refine="SQ8")
    return Choice(str(fitting), f"{passages:,} passages are too few for {spec}; {instead.why}")


def smallest(spec: Spec) -> int:
    """How many vectors an index of that spec needs at least."""
    return 0 if spec.family == "Flat" else max(SMALLEST_GRAPH, TRAINING_PER_LIST * spec.lists)


def own_bytes(spec: Spec, passages: int, dimension: int) -> int:
    """About how much memory of its own an open index takes, without what is mapped."""
    if spec.family == "Flat":
        return 0
    if spec.family == "Graph":
        return passages * (dimension + 4 + 4 * spec.links + 4)
    if spec.family == "HNSW":
        vector = dimension + 4 if spec.codec else 4 * dimension
        return passages * (vector + 8 * spec.links + 16)
    code = 0 if spec.codec == "SQ8" else spec.parts // 2 + 8 if spec.parts else dimension // 8 + 16
    return passages * (code + 8) + 5 * spec.lists * dimension


def lists_for(passages: int) -> int:
    """A power of two near four times the square root: what scanning the centroids and the lists costs is then level."""
    lists = 16
    while lists * lists * 4 <= 16 * passages * 2:
        lists *= 2
    return min(lists, 65536)


def _choose(passages: int, dimension: int, memory_bytes: int | None, recall: float) -> Choice:
    if passages < FLAT_BELOW:
        return Choice("Flat", f"{passages:,} passages are scanned exactly faster than any index is searched")
    graph = Spec("Graph", links=32, codec="SQ8", refine="SQfp16")
    needed = own_bytes(graph, passages, dimension)
    fits = memory_bytes is None or needed <= memory_bytes
    if passages < GRAPH_BELOW and fits:
        return Choice(str(graph), f"a graph over int8 is fastest at recall {recall}; it takes {needed >> 20:,} MiB")
    reason = (
        f"{passages:,} passages are too many to build a graph" if fits else f"a graph would take {needed >> 20:,} MiB"
    )
    lists = lists_for(passages)
    parts = next(
        (parts for parts in (dimension // 4, dimension // 2, dimension) if parts and dimension % parts == 0), 0
    )
    lean = Spec("IVF", lists=lists, codec=f"PQ{parts}x4fsr", parts=parts, refine="SQ8" if recall < 0.99 else "SQfp16")
    return Choice(str(lean), f"{reason}; lists of 4-bit codes take {own_bytes(lean, passages, dimension) >> 20:,} MiB")
