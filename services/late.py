"""Which model of late interaction a collection's token vectors come from: that of its index, or of the settings."""

from __future__ import annotations

import threading
from collections.abc import Callable

from retrieval.errors import CollectionNotFound, IndexUnreadable, ModelMissing
from retrieval.late_encoder import LateEncoder, open_late
from retrieval.models import find_model
from retrieval.store import CollectionStore
from retrieval.token_codec import LateSpec
from services.loading import Deferred
from services.settings import Settings


def late_named(name: str, bits: int, settings: Settings) -> LateEncoder:
    """Open a model of late interaction; seconds of work. Raises ModelMissing, InvalidRequest for another kind."""
    return open_late(find_model(name, settings.home), bits=bits, threads=settings.models.threads)


def late_for(spec: LateSpec, settings: Settings) -> LateEncoder:
    """The model that an index's token vectors come from. Raises ModelMissing when it is not there as it was then."""
    found = late_named(spec.model, spec.bits, settings)
    if found.spec != spec:
        raise ModelMissing(
            f"the token vectors come from {spec.model} {spec.fingerprint}, and {found.spec.fingerprint} is here: "
            f"riddle models pull {spec.model}, or build the collection again"
        )
    return found


def late_of_build(store: CollectionStore, collection: str, settings: Settings, *, replace: bool) -> LateEncoder | None:
    """What a build gives passages token vectors by: a collection that is there keeps its own way, a new one, or one
    that is built anew while the settings name a model, gets that of the settings."""
    chosen = settings.build.late
    if not (replace and chosen):
        try:
            spec = store.open(collection).settings.late
        except (CollectionNotFound, IndexUnreadable):
            pass
        else:
            return None if spec is None else late_for(spec, settings)
    return late_named(chosen, settings.build.late_bits, settings) if chosen else None


def late_shelf(settings: Settings) -> LateShelf:
    """Opens the models of whatever collections are searched, when they are."""
    return LateShelf(lambda spec: late_for(spec, settings))


class LateShelf:
    """Models of late interaction by what an index says of them, each loaded once. Thread-safe."""

    def __init__(self, load: Callable[[LateSpec], LateEncoder]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._held: dict[LateSpec, Deferred[LateEncoder]] = {}

    def get(self, spec: LateSpec) -> LateEncoder:
        """Raises ModelMissing, or Unavailable while it loads."""
        return self._entry(spec).get()

    def wait(self, spec: LateSpec) -> LateEncoder:
        """The same, once it is loaded."""
        return self._entry(spec).wait()

    def _entry(self, spec: LateSpec) -> Deferred[LateEncoder]:
        with self._lock:
            if spec not in self._held:
                self._held[spec] = Deferred("late", lambda: self._load(spec))
            return self._held[spec]
