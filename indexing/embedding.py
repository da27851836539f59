"""Encodes the passages of a partition, those of like length together, telling how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from indexing.chunking import count_tokens
from retrieval.batching import token_batches
from retrieval.errors import InvalidRequest, RiddleError
from retrieval.late_encoder import LateEncoder
from retrieval.token_vectors import TokenCodes, check_tokens, joined
from retrieval.types import Encoder, Vectors


class EncoderBroken(RiddleError):
    """The encoder gave something other than it promises."""

    code = "encoder_broken"
    title = "Encoder broken"


def embed_tokens(
    late: LateEncoder,
    texts: Sequence[str],
    *,
    batch_tokens: int = 8192,
    progress: Callable[[int], None] = lambda done: None,
) -> TokenCodes:
    """Token vectors of ``texts``, in their order, for late interaction; arguments and errors as ``embed`` has them."""
    found: list[TokenCodes] = [TokenCodes.unknown(late.spec, 0)] * len(texts)
    done = 0
    for batch in token_batches([count_tokens(text) + 3 for text in texts], batch_tokens, most=128):
        codes = late.encode([texts[position] for position in batch])
        try:
            check_tokens(codes, len(batch))
        except InvalidRequest as error:
            raise EncoderBroken(f"{late.spec.model}: {error.detail}", stage="embedding") from error
        for position, own in zip(batch, codes.split([1] * len(batch)), strict=True):
            found[position] = own
        done += len(batch)
        progress(done)
    return joined(late.spec, found, [1] * len(found))


def embed(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    batch_tokens: int = 8192,
    progress: Callable[[int], None] = lambda done: None,
) -> Vectors:
    """Vectors of ``texts`` as passages, float32 ``[len(texts), dimension]``, in the order of ``texts``.

    ``batch_tokens`` bounds a batch, padded to its longest text; ``progress`` is called with the number
    of texts done after each batch, and may raise to stop. Raises what the encoder raises, and
    EncoderBroken when its vectors are of another shape or not finite.
    """
    dimension = encoder.spec.dimension
    vectors: Vectors = np.empty((len(texts), dimension), np.float32)
    lengths = [min(count_tokens(text) + 2, encoder.spec.max_tokens) for text in texts]
    done = 0
    for batch in token_batches(lengths, batch_tokens, most=128):
        found = encoder.encode([texts[position] for position in batch], "passage")
        if found.shape != (len(batch), dimension) or not np.isfinite(found).all():
            raise EncoderBroken(
                f"the encoder {encoder.spec.name} gave vectors of shape {list(found.shape)} for {len(batch)} texts, or "
                f"values that are not finite; {dimension} dimensions were promised; check it with `riddle doctor`",
                stage="embedding",
            )
        vectors[batch] = found
        done += len(batch)
        progress(done)
    return vectors
