"""The real model of late interaction: its kind, the passages that it puts first, and what collections ask of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.late_encoder import open_late
from retrieval.maintenance import Nothing
from retrieval.manifest import CollectionSettings
from retrieval.models import find_model, sha256
from retrieval.store import CollectionStore
from services.late import late_for, late_of_build
from services.model_registry import ADAPTERS, listed
from services.settings import Settings
from tests.fake_models import FakeEncoder
from tests.requires import need

MODEL = "answerai-colbert-small-v1"
QUESTION = "Which city is the capital of France?"
TEXTS = [
    "Photosynthesis turns light into chemical energy in plants.",
    "The capital of France is Paris, on the river Seine.",
    "A compiler translates source code into machine code.",
]


def test_what_is_shipped_for_late_interaction_is_what_the_registry_names() -> None:
    entry = listed(MODEL)
    assert entry is not None
    assert entry.kind == "late"
    (file,) = [each for each in entry.files if each.name == "late.safetensors"]
    assert file.sha256 == sha256(ADAPTERS / MODEL / file.name)
    assert file.bytes < 400_000


def test_without_a_model_in_the_settings_builds_do_without(tmp_path: Path) -> None:
    store, settings = CollectionStore(tmp_path / "collections", Nothing()), Settings(home=tmp_path)
    assert late_of_build(store, "docs", settings, replace=False) is None
    store.create("docs", CollectionSettings(), FakeEncoder().spec)
    chosen = replace(settings, build=replace(settings.build, late=MODEL))
    assert late_of_build(store, "docs", chosen, replace=False) is None  # it is kept the way it was built
    with pytest.raises(ModelMissing, match=f"riddle models pull {MODEL}"):
        late_of_build(store, "docs", chosen, replace=True)


@pytest.mark.slow
def test_the_passage_that_answers_comes_first_and_compression_moves_scores_little() -> None:
    files = find_model(MODEL, need.home(MODEL))
    exact = open_late(files, bits=4)
    query = exact.query_vectors(QUESTION)
    wanted = [float((vectors @ query.T).max(0).mean()) for vectors in exact.passage_vectors(TEXTS)]
    for bits, near in ((4, 0.01), (2, 0.05)):
        late = open_late(files, bits=bits)
        found = late.encode(TEXTS).scores(late.query(QUESTION))
        assert int(np.argmax(found)) == 1
        assert found == pytest.approx(wanted, abs=near)
    assert exact.spec.width == 51


@pytest.mark.slow
def test_a_model_of_another_kind_or_of_other_weights_is_refused() -> None:
    home = need.home(MODEL, "bge-small-en-v1.5")
    with pytest.raises(InvalidRequest, match="one of late interaction is needed"):
        open_late(find_model("bge-small-en-v1.5", home))
    spec = open_late(find_model(MODEL, home)).spec
    assert late_for(spec, Settings(home=home)).spec == spec
    with pytest.raises(ModelMissing, match="build the collection again"):
        late_for(replace(spec, fingerprint="0" * 16), Settings(home=home))
