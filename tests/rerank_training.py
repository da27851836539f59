"""A reranker of a few thousand weights and lists that it can learn, for tests of training."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertForSequenceClassification, BertModel

from ranking.train.batches import Reading
from ranking.train.lists import Lists, RankedList
from ranking.train.networks import LoraShape
from ranking.train.training import Plan, cross_encoder, train
from retrieval.tokens import Tokenizer
from tests.grounding import VOCABULARY, tiny_tokenizer

_ABOUT_TOKENS = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>"}

_WORDS = [word for word in VOCABULARY if word.isalnum() and len(word) > 2]


def tiny_folder(folder: Path, dropout: float = 0.0) -> Path:
    """A random cross-encoder of one logit, as transformers keeps it, with the tokenizer of the tests."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.2, pad_token_id=1, num_labels=1,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tiny_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(_ABOUT_TOKENS), encoding="utf-8")
    return folder


def encoder_folder(folder: Path) -> Path:
    """A random encoder of the sizes that our kernel takes, as transformers keeps it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(6)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=192,
        max_position_embeddings=64, initializer_range=0.1, pad_token_id=1,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tiny_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(_ABOUT_TOKENS), encoding="utf-8")
    return folder


def pairs_of(words: int) -> dict[str, NDArray[np.int64]]:
    """Four pairs of random words and of unequal length, padded on the right."""
    rng = np.random.default_rng(2)
    lengths = np.array([3, 9, 30, 64])[:, None]
    places = np.arange(64)[None]
    mask = (places < lengths).astype(np.int64)
    return {
        "input_ids": rng.integers(4, words, (4, 64)) * mask,
        "attention_mask": mask,
        "token_type_ids": (places > lengths // 3).astype(np.int64) * mask,
    }


def tiny_lists(count: int = 40, passages: int = 5, seed: int = 0) -> Lists:
    """A passage is relevant when it begins with the query's words; the teacher scores by how many it has.

    Every second list has the teacher's scores; every fifth is held apart for judging.
    """
    rng = random.Random(seed)
    texts: dict[str, str] = {}
    lists = []
    for number in range(count):
        query = rng.sample(_WORDS, 2)
        names = []
        for place in range(passages):
            others = rng.sample([word for word in _WORDS if word not in query], 4)
            names.append(f"{number}/{place}")
            texts[names[-1]] = " ".join(query + others[:2] if place == 0 else others)
        scores = tuple(3.0 if place == 0 else -2.0 - 0.25 * place for place in range(passages))
        lists.append(
            RankedList(
                f"list {number}", "toy", "dev" if number % 5 == 0 else "train", "en", " ".join(query), tuple(names),
                tuple(int(place == 0) for place in range(passages)), 1, scores=scores if number % 2 else (),
            )
        )  # fmt: skip
    return Lists(texts, lists)


def tiny_plan(steps: int, **changed: Any) -> Plan:
    reading = Reading(passages=4, tokens=32, batch_tokens=120)
    usual = Plan("english", steps, lists=4, rate=5e-3, dropout=0.0, lora=LoraShape(4, 8), reading=reading, save_every=4)
    return replace(usual, **changed)


def tiny_training(folder: Path, plan: Plan, out: Path, stop_at: int | None = None) -> dict[str, float]:
    """Train the network in ``folder`` by ``plan``."""
    model = cross_encoder(folder, "cpu")
    return train(model, Tokenizer(folder / "tokenizer.json"), tiny_lists(), plan, out, stop_at=stop_at)
