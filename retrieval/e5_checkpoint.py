"""Lays multilingual-e5-small out as others keep it: tensors under BERT's names, a tokenizer, the files about both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.e5_file import E5File, Pieces, Shape

MAX_TOKENS = 512

_KEPT = "～"
"""The full-width tilde: the one character of use that SentencePiece's rules keep and NFKC rewrites."""
_ASIDE = "\ue000"
"""A character for private use, which no rule touches, in the place of the other meanwhile."""

_ROOT = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def tensor_names(shape: Shape) -> dict[str, str]:
    """The name in transformers' BertModel of each tensor of the file."""
    names = dict(_ROOT)
    for layer in range(shape.layers):
        for short, long in _LAYER.items():
            names[f"l{layer}.{short}.w"] = f"encoder.layer.{layer}.{long}.weight"
            names[f"l{layer}.{short}.b"] = f"encoder.layer.{layer}.{long}.bias"
    return names


def tensors(file: E5File) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every tensor as float32 under its name in BertModel, matrices ``[outputs, inputs]``."""
    shape = file.shape
    for short, name in tensor_names(shape).items():
        matrix = name.endswith("weight") and "LayerNorm" not in name
        width = shape.inner if name.endswith(f"{_LAYER['fo']}.weight") and ".attention." not in name else shape.hidden
        yield name, file.tensor(short, width if matrix else None)


def tokenizer_json(pieces: Pieces) -> str:
    """The tokenizer in the form of the `tokenizers` library.

    SentencePiece's rules for this model (``nmt_nfkc``) are ``Nmt`` and NFKC there, the full-width tilde
    excepted: all 4,837 characters of the real file's table come out as it says, and of the others up to
    U+2FFFF only U+1F23B, younger than the table, is rewritten too.
    """
    texts, special = pieces.texts, (pieces.begin, pieces.pad, pieces.end, pieces.unknown, len(pieces.texts) - 1)
    begin, end = texts[pieces.begin], texts[pieces.end]
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    said = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(token, texts[token]) for token in sorted(special)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Replace", "pattern": {"String": _KEPT}, "content": _ASIDE},
                {"type": "Nmt"},
                {"type": "NFKC"},
                {"type": "Replace", "pattern": {"String": _ASIDE}, "content": _KEPT},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ],
        },
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": _template(begin, "A", end),
            "pair": [*_template(begin, "A", end), *_template(end, "B", end)],
            "special_tokens": {
                text: {"id": text, "ids": [token], "tokens": [text]}
                for token, text in ((pieces.begin, begin), (pieces.end, end))
            },
        },
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": pieces.unknown,
            "vocab": [[text, float(score)] for text, score in zip(texts, pieces.scores, strict=True)],
            "byte_fallback": False,
        },
    }
    return json.dumps(said, ensure_ascii=False)


def descriptions(shape: Shape, pieces: Pieces) -> dict[str, Any]:
    """The small JSON files of a sentence-transformers folder, by name."""
    begin, end, pad, unknown = (pieces.texts[token] for token in (pieces.begin, pieces.end, pieces.pad, pieces.unknown))
    pooling = {
        "word_embedding_dimension": shape.hidden,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    kinds = {"0": ("", "Transformer"), "1": ("1_Pooling", "Pooling"), "2": ("2_Normalize", "Normalize")}
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "attention_probs_dropout_prob": 0.1,
            "dtype": "float32",
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "hidden_size": shape.hidden,
            "initializer_range": 0.02,
            "intermediate_size": shape.inner,
            "layer_norm_eps": shape.epsilon,
            "max_position_embeddings": shape.positions,
            "num_attention_heads": shape.heads,
            "num_hidden_layers": shape.layers,
            "pad_token_id": pieces.pad,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "type_vocab_size": shape.types,
            "vocab_size": shape.vocabulary,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": MAX_TOKENS,
            "bos_token": begin,
            "cls_token": begin,
            "eos_token": end,
            "sep_token": end,
            "pad_token": pad,
            "unk_token": unknown,
            "mask_token": pieces.texts[-1],
            "clean_up_tokenization_spaces": False,
        },
        "modules.json": [
            {"idx": int(at), "name": at, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for at, (path, kind) in kinds.items()
        ],
        "sentence_bert_config.json": {"max_seq_length": MAX_TOKENS, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "query: ", "passage": "passage: "}},
        "1_Pooling/config.json": pooling,
    }


def _added(token: int, text: str) -> Mapping[str, object]:
    return {
        "id": token,
        "content": text,
        "single_word": False,
        "lstrip": text == "<mask>",
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _template(before: str, sequence: str, after: str) -> list[Mapping[str, object]]:
    return [
        {"SpecialToken": {"id": before, "type_id": 0}},
        {"Sequence": {"id": sequence, "type_id": 0}},
        {"SpecialToken": {"id": after, "type_id": 0}},
    ]
