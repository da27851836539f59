"""How well a network orders the lists held apart: nDCG@10 of each source, beside recall's order and the teacher's."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ranking.train.lists import RankedList
from retrieval.batching import token_batches
from retrieval.tokens import Encoded, Tokenizer, model_inputs

Floats = NDArray[np.float32]

RECALL, TEACHER, MEAN = "recall", "teacher", "mean"
_PAIRS_AT_ONCE = 60_000


def ndcg(grades: Sequence[int], scores: Sequence[float] | Floats, judged: int, cut: int = 10) -> float:
    """nDCG of one list in the order of ``scores`` (greatest first, ties as they stand), of ``judged`` relevant ones
    in all, each of grade 1 (Järvelin and Kekäläinen, TOIS 2002); 0 where nothing is relevant."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")[:cut]
    gains = sum((grades[place] > 0) / np.log2(rank + 2) for rank, place in enumerate(order.tolist()))
    ideal = sum(1 / np.log2(rank + 2) for rank in range(min(judged, cut)))
    return float(gains / ideal) if ideal else 0.0


def by_source(lists: Sequence[RankedList], scores: Sequence[Sequence[float] | Floats]) -> dict[str, float]:
    """The mean of each source's lists that have a judgement, and under ``mean`` the mean of the sources."""
    found: dict[str, list[float]] = defaultdict(list)
    for each, own in zip(lists, scores, strict=True):
        if each.judged:
            found[each.source].append(ndcg(each.grades, own, each.judged))
    means = {source: float(np.mean(values)) for source, values in sorted(found.items())}
    return means | {MEAN: float(np.mean(list(means.values())))} if means else {}


def standings(lists: Sequence[RankedList]) -> dict[str, dict[str, float]]:
    """What there is to beat: recall's order, and the teacher's where it has scored every list of a source."""
    found = {RECALL: by_source(lists, [-np.arange(len(each.passages), dtype=np.float32) for each in lists])}
    taught = [each for each in lists if each.scores]
    return found | ({TEACHER: by_source(taught, [each.scores for each in taught])} if taught else {})


def list_scores(
    network: Any, tokenizer: Tokenizer, lists: Sequence[tuple[str, Sequence[str]]], tokens: int, batch_tokens: int
) -> list[Floats]:
    """Logits of a query and its passages for each list, by a BertForSequenceClassification where it is now.

    In half precision on a GPU. Pairs are put together by length over many lists, so that little is padding.
    """
    found: list[Floats] = []
    start = 0
    while start < len(lists):
        end, pairs = start, 0
        while end < len(lists) and (pairs == 0 or pairs + len(lists[end][1]) <= _PAIRS_AT_ONCE):
            pairs += len(lists[end][1])
            end += 1
        some = lists[start:end]
        rows = [row for query, passages in some for row in tokenizer.encode_pairs(query, passages, tokens)]
        logits = _logits(network, rows, batch_tokens)
        bounds = np.cumsum([0] + [len(passages) for _, passages in some])
        found += [logits[low:high] for low, high in itertools.pairwise(bounds.tolist())]
        start = end
    return found


def _logits(network: Any, rows: Sequence[Encoded], batch_tokens: int) -> Floats:
    device = next(network.parameters()).device
    found = np.zeros(len(rows), np.float32)
    network.eval()
    waiting: list[tuple[list[int], torch.Tensor]] = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        for batch in token_batches([len(row) for row in rows], batch_tokens, most=4096):
            inputs = model_inputs([rows[place] for place in batch])
            given = {name: torch.from_numpy(each).to(device, non_blocking=True) for name, each in inputs.items()}
            waiting.append((batch, network(**given).logits[:, 0].float()))
    for batch, logits in waiting:
        found[batch] = logits.cpu().numpy()
    return found


def judge(
    network: Any, tokenizer: Tokenizer, lists: Sequence[RankedList], texts: Mapping[str, str], tokens: int,
    batch_tokens: int,
) -> dict[str, float]:  # fmt: skip
    """nDCG@10 of a network's order, as ``by_source`` gives it."""
    asked = [(each.query, [texts[passage] for passage in each.passages]) for each in lists]
    return by_source(lists, list_scores(network, tokenizer, asked, tokens, batch_tokens))
