"""Vectors with the covariance and the clusters of real embeddings, any block of them by its number, from one seed.

Ten million real embeddings are not at hand; a Gaussian of their covariance alone is far easier or harder to search than
they are, because real texts crowd into topics, and topics into subtopics. So a vector is drawn as

    centre of a fitted cluster + scale of the cluster * (offsets of a topic, a subtopic and a theme + own offset)

brought to unit length, where every offset is Gaussian with the covariance that the residuals of real vectors have, and
``shares`` says how the variance is split among the first three; themes differ in how far their points lie from them, as
near-repetitions and loose remarks do. ``Shape`` holds what is fitted to real vectors (some 250 KB).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Vectors

BLOCK = 65_536
"""Rows of a block: the unit of random access."""

PACKAGED = Path(__file__).with_name("minilm_shape.npz")
"""Fitted to all-MiniLM-L6-v2 vectors of 200,000 distinct sentences by `benchmarks/vectors_10m.py fit`."""

_BRANCHING = (8, 8, 16)
"""Topics of a cluster, subtopics of a topic, themes of a subtopic."""
_TABLE = 1 << 14
"""Offsets of each level are this many; a hash of the number of a topic, subtopic or theme picks one."""
_UNEVEN = 0.45
"""Standard deviation of the logarithm of a theme's own spread."""
_POINTS, _QUERIES, _TABLES = 0, 1, 2  # what a stream of random numbers is for


@dataclass(frozen=True, slots=True)
class Shape:
    """What was fitted: ``centres`` ``[k, d]``, share of the points ``weights`` ``[k]`` and residual norm ``scales``
    ``[k]`` of each, ``factor`` ``[d, d]`` with ``factor.T @ factor`` the residuals' covariance, brought to trace 1."""

    centres: Vectors
    weights: NDArray[np.float64]
    scales: NDArray[np.float32]
    factor: NDArray[np.float32]
    shares: tuple[float, float, float]
    """Of the residual variance: topic's, subtopic's and theme's; the rest is the point's own, on average."""

    def save(self, path: Path) -> None:
        """As int8 with one scale a row, compressed."""
        (centres, steps), (factor, factor_steps) = _packed(self.centres), _packed(self.factor)
        np.savez_compressed(
            path, centres=centres, centres_steps=steps, factor=factor, factor_steps=factor_steps,
            weights=self.weights, scales=self.scales, shares=np.array(self.shares),
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path = PACKAGED) -> Shape:
        with np.load(path) as stored:
            centres, factor = (
                (stored[name] * stored[f"{name}_steps"][:, None]).astype(np.float32) for name in ("centres", "factor")
            )
            topic, subtopic, theme = stored["shares"].tolist()
            return cls(centres, stored["weights"], stored["scales"], factor, (topic, subtopic, theme))


@dataclass(frozen=True, slots=True)
class Drawn:
    """``vectors`` float32 ``[n, d]``, unit; ``clusters`` int32 ``[n]``, so that metadata can go with the content."""

    vectors: Vectors
    clusters: NDArray[np.int32]


def generator_version() -> str:
    """Changes with the packaged shape and with how vectors are drawn from it: what was kept of another is of no use."""
    drawn = repr((_BRANCHING, _TABLE, _UNEVEN)).encode()
    return hashlib.blake2b(PACKAGED.read_bytes() + drawn, digest_size=4).hexdigest()


class Synthetic:
    """A source of vectors. Equal ``shape`` and ``seed`` give equal vectors on one numpy version; thread-safe."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        self._shape, self._seed = shape, seed
        self.clusters, self.dimension = shape.centres.shape
        tables = self._numbers(_TABLES, 0)
        self._levels = [np.float32(np.sqrt(share)) * self._offsets(tables, _TABLE) for share in shape.shares]
        spread = np.exp(_UNEVEN * tables.standard_normal(_TABLE, np.float32))
        own = max(0.0, 1 - sum(shape.shares))
        self._spread = spread * np.float32(np.sqrt(own / np.mean(spread**2)))

    def block(self, number: int, rows: int = BLOCK) -> Drawn:
        """Rows ``number * BLOCK`` and following; fewer ``rows`` give the first of them."""
        drawn = self._draw(self._numbers(_POINTS, number), BLOCK)
        return Drawn(drawn.vectors[:rows], drawn.clusters[:rows])

    def blocks(self, count: int, first: int = 0) -> Iterator[Drawn]:
        """The blocks of ``count`` rows in order, from block ``first`` on; the last one is cut."""
        for number in range(first, -(-count // BLOCK)):
            yield self.block(number, min(BLOCK, count - number * BLOCK))

    def queries(self, count: int) -> Vectors:
        """Vectors of the same distribution that no block holds."""
        parts = [self._draw(self._numbers(_QUERIES, part), BLOCK).vectors for part in range(-(-count // BLOCK))]
        return np.concatenate(parts)[:count]

    def _draw(self, numbers: np.random.Generator, count: int) -> Drawn:
        shape = self._shape
        cluster = numbers.choice(self.clusters, count, p=shape.weights / shape.weights.sum())
        vectors = self._offsets(numbers, count)
        node, places = cluster, []
        for children in _BRANCHING:
            node = node * children + numbers.integers(0, children, count)
            places.append(node * 2_654_435_761 % 4_294_967_291 % _TABLE)
        vectors *= self._spread[places[-1]][:, None]
        for table, place in zip(self._levels, places, strict=True):
            vectors += table[place]
        vectors *= shape.scales[cluster][:, None]
        vectors += shape.centres[cluster]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Drawn(vectors, cluster.astype(np.int32))

    def _offsets(self, numbers: np.random.Generator, count: int) -> Vectors:
        return np.asarray(numbers.standard_normal((count, self.dimension), np.float32) @ self._shape.factor, np.float32)

    def _numbers(self, purpose: int, part: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence([self._seed, purpose, part])))


def fit(sample: Vectors, shares: tuple[float, float, float], *, clusters: int = 256, seed: int = 0) -> Shape:
    """Fit to real vectors ``[n, d]``, unit rows, at least 20 a cluster; spherical k-means of ten rounds.

    ``shares`` cannot be read off the clusters: it is chosen so that neighbours are as near, and searches as hard, as
    among the real vectors (`benchmarks/vectors_10m.py hnswlib`).
    """
    if len(sample) < 20 * clusters:
        raise ValueError(f"{len(sample)} vectors are too few for {clusters} clusters")
    numbers = np.random.default_rng(seed)
    centres = sample[numbers.choice(len(sample), clusters, replace=False)]
    for _ in range(10):
        nearest = _nearest(sample, centres)
        sums = np.zeros((clusters, sample.shape[1]), np.float32)
        np.add.at(sums, nearest, sample)
        empty = np.flatnonzero(np.bincount(nearest, minlength=clusters) == 0)
        sums[empty] = sample[numbers.choice(len(sample), len(empty))]
        centres = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    nearest = _nearest(sample, centres)
    counts = np.maximum(np.bincount(nearest, minlength=clusters), 1)
    means = np.zeros_like(centres)
    np.add.at(means, nearest, sample)
    means /= counts[:, None].astype(np.float32)
    residuals = sample - means[nearest]
    squares = np.bincount(nearest, (residuals**2).sum(axis=1), clusters)
    values, axes = np.linalg.eigh(np.cov(residuals, rowvar=False).astype(np.float64))
    factor = np.sqrt(np.maximum(values, 0) / values.sum())[:, None] * axes.T
    scales = np.sqrt(squares / counts).astype(np.float32)
    return Shape(means, counts / len(sample), scales, factor.astype(np.float32), shares)


def _nearest(sample: Vectors, centres: Vectors) -> NDArray[np.int64]:
    blocks = range(0, len(sample), BLOCK)
    return np.concatenate([(sample[start : start + BLOCK] @ centres.T).argmax(axis=1) for start in blocks])


def _packed(matrix: Vectors) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    steps = np.asarray(np.abs(matrix).max(axis=1) / 127 + 1e-12, np.float32)
    return np.rint(matrix / steps[:, None]).astype(np.int8), steps
