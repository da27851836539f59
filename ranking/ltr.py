"""Trees that order candidates by their features: a model's file, its scores, and which model a collection uses."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranking.features import FeatureSet, Stamp, Vectors, stamped
from ranking.fields import NumericField, numeric_fields
from retrieval.durable import replace_json
from retrieval.errors import IndexUnreadable, InvalidRequest, ModelMissing, RiddleError
from retrieval.types import Candidate, StageScore

FORMAT = 1
"""Of a model's file; grows when an older reader would misread a newer one."""

FOLDER = "ltr"
"""Below the home folder."""

ADOPTED = "adopted.json"

STAGE = "ltr"
"""The stage under which candidates carry the trees' score."""

_HASH = re.compile(r"[0-9a-f]{12}")


class FeaturesDiffer(RiddleError):
    """A model was trained on features that this version of the code does not compute (HTTP 424)."""

    code = "model_missing"
    title = "Model does not fit"


@dataclass(frozen=True, slots=True)
class LtrFile:
    """What a model's file says."""

    features: str
    """Version of the features that it was trained on."""
    fields: str
    """The user's own numbers among them, as ``numeric_fields`` reads them."""
    columns: tuple[str, ...]
    """Those that the trees may look at, in the order of their inputs."""
    trees: str
    """LightGBM's text form."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from: data, settings, measured gains. JSON."""

    @property
    def hash(self) -> str:
        """First 12 hex digits of sha256 over all that scores depend on; the card is none of it."""
        told = json.dumps([FORMAT, self.features, self.fields, self.columns, self.trees])
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    def write(self, path: Path) -> None:
        """In one step; a reader sees the old file or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_json(
            path,
            {
                "format": FORMAT,
                "hash": self.hash,
                "features": self.features,
                "fields": self.fields,
                "columns": list(self.columns),
                "card": dict(self.card),
                "trees": self.trees,
            },
        )


def read_file(path: Path) -> LtrFile:
    """Raises ModelMissing when there is none, IndexUnreadable for one that is damaged or of another format."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise IndexUnreadable(f"{path} is of format {said['format']}, this version reads {FORMAT}: train it anew")
        found = LtrFile(said["features"], said["fields"], tuple(said["columns"]), said["trees"], said["card"])
    except FileNotFoundError:
        raise ModelMissing(f"{path} is not there; `riddle ltr train` makes such a model") from None
    except (ValueError, KeyError, TypeError) as error:
        raise IndexUnreadable(f"{path} is no model of learned ranking: {error}") from error
    if said.get("hash") != found.hash:
        raise IndexUnreadable(f"{path} is damaged: its content does not have the hash that it names; train it anew")
    return found


class LtrModel:
    """A model ready to score, and the features that it scores by. Thread-safe.

    Raises FeaturesDiffer when it was trained on features that this version does not compute.
    """

    def __init__(self, file: LtrFile) -> None:
        features = FeatureSet(numeric_fields(file.fields))
        if features.version != file.features:
            raise FeaturesDiffer(
                f"the learned ranker {file.hash} wants features of version {file.features}, and this Riddle computes "
                f"{features.version}: train it anew with `riddle ltr train`, or take it away with `riddle ltr drop`"
            )
        # Imported here because it takes half a second and brings scipy along.
        import lightgbm

        self.file = file
        self.hash = file.hash
        self.features = features
        self._inputs = np.array([features.names.index(name) for name in file.columns], np.int64)
        try:
            self._trees = lightgbm.Booster(model_str=file.trees)
        except lightgbm.basic.LightGBMError as error:
            raise IndexUnreadable(f"the trees of the learned ranker {file.hash} cannot be read: {error}") from error
        if self._trees.num_feature() != len(file.columns):
            raise IndexUnreadable(
                f"the learned ranker {file.hash} names {len(file.columns)} columns and its trees have "
                f"{self._trees.num_feature()}: train it anew"
            )
        self._lock = threading.Lock()

    def scores(self, vectors: Vectors) -> NDArray[np.float64]:
        """One score a row of ``[candidates, all columns of the features]``, higher first, of no known scale.

        On one core. A row's score depends on that row alone, bit for bit.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.features.names):
            raise InvalidRequest(f"vectors {vectors.shape} do not have the {len(self.features.names)} columns wanted")
        if not len(vectors):
            return np.empty(0)
        inputs = np.ascontiguousarray(vectors[:, self._inputs])
        # LightGBM keeps its thread count for the whole process and sets it in each call.
        with self._lock:
            scores = self._trees.predict(inputs, raw_score=True, num_threads=1, validate_features=False)
        return np.asarray(scores, np.float64)


def with_trees(
    query: str,
    candidates: Sequence[Candidate],
    features: FeatureSet,
    model: LtrModel | None = None,
    now: float | None = None,
) -> tuple[Candidate, ...]:
    """The candidates in the order given, each with its vector, and with what the trees say of it as the stage ``ltr``.

    Without a model there is no such stage, and the vectors are what a first one can be trained on. The stage's
    score is the trees' own, on no known scale and unrounded, as replaying it wants; of equals the first ranks first.
    Raises InvalidRequest when the model is of other features.
    """
    vectors = features(query, candidates, now)
    stamp = Stamp(features.version, model.hash if model else "")
    told = [replace(each, vector=stamped(stamp, row)) for each, row in zip(candidates, vectors, strict=True)]
    if model is None:
        return tuple(told)
    if model.features.version != features.version:
        raise InvalidRequest(f"the learned ranker {model.hash} cannot score features of version {features.version}")
    scores = model.scores(vectors)
    for rank, at in enumerate(np.argsort(-scores, kind="stable").tolist(), 1):
        told[at] = replace(told[at], stages={**told[at].stages, STAGE: StageScore(rank, float(scores[at]))})
    return tuple(told)


class LtrShelf:
    """The models of a home folder: every one that was ever adopted, and which collection uses which.

    Old ones are kept, since the log's scores can be computed again only with them. ``fields`` are the user's own
    numbers among the features of collections without a model. Thread-safe.
    """

    def __init__(self, home: Path, fields: Sequence[NumericField] = ()) -> None:
        self.folder = home / FOLDER
        self._default = FeatureSet(tuple(fields))
        self._loaded: dict[str, LtrModel] = {}
        self._adopted: tuple[int, Mapping[str, str]] = (-1, {})

    def adopt(self, collection: str, file: LtrFile) -> str:
        """From now on ``collection`` is ranked by this model. Returns its hash."""
        self.keep(file)
        self._point({**self.adopted(), collection: file.hash})
        return file.hash

    def keep(self, file: LtrFile) -> Path:
        """Write the model beside the others without using it."""
        path = self.folder / f"{file.hash}.json"
        file.write(path)
        return path

    def drop(self, collection: str) -> str:
        """Rank ``collection`` without a model again. Returns the hash of the one it had. Raises ModelMissing."""
        adopted = dict(self.adopted())
        if collection not in adopted:
            raise ModelMissing(f"{collection} has no learned ranker; `riddle ltr show` lists those there are")
        had = adopted.pop(collection)
        self._point(adopted)
        return had

    def adopted(self) -> Mapping[str, str]:
        """Collection to hash. Read anew when another process changed it."""
        path = self.folder / ADOPTED
        try:
            changed = path.stat().st_mtime_ns
            if self._adopted[0] != changed:
                said = json.loads(path.read_text(encoding="utf-8"))
                self._adopted = (changed, {str(name): str(told) for name, told in said.items()})
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError) as error:
            raise IndexUnreadable(f"{path} is damaged: {error}; adopt the models anew") from error
        return self._adopted[1]

    def of(self, collection: str) -> LtrModel | None:
        """The model of a collection, ready; None without one. Raises FeaturesDiffer, ModelMissing, IndexUnreadable."""
        named = self.adopted().get(collection)
        return None if named is None else self.model(named)

    def features_of(self, collection: str) -> FeatureSet:
        """Its model's features, or those that a first model could be trained on. Raises as ``of`` does."""
        model = self.of(collection)
        return self._default if model is None else model.features

    def model(self, named: str) -> LtrModel:
        """The model of a hash. Raises as ``of`` does."""
        if named not in self._loaded:
            self._loaded[named] = LtrModel(self.file(named))
        return self._loaded[named]

    def file(self, named: str) -> LtrFile:
        if not _HASH.fullmatch(named):
            raise ModelMissing(f"{named!r} names no learned ranker; a name is 12 hex digits")
        return read_file(self.folder / f"{named}.json")

    def hashes(self) -> list[str]:
        """Of all models that are kept."""
        return sorted(path.stem for path in self.folder.glob("*.json") if _HASH.fullmatch(path.stem))

    def _point(self, adopted: Mapping[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_json(self.folder / ADOPTED, dict(sorted(adopted.items())))
