"""Which model of late interaction a collection's token vectors come from: that of its index, or of the settings."""

from __future__ import annotations

import threading
from collections.abc import Callable

from retrieval.errors import CollectionNotFound, IndexUnreadable, InvalidRequest, ModelMissing
from retrieval.late_encoder import LateEncoder, late_spec, open_late
from retrieval.models import find_model
from retrieval.store import CollectionStore
from retrieval.token_codec import LateSpec
from services.loading import Deferred
from services.model_registry import listed
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


def late_anew(spec: LateSpec | None, name: str, settings: Settings) -> LateEncoder | None:
    """For a collection that is made anew of one with ``spec``: the model of that name, none for ``none``, that of
    ``spec`` where nothing is named. Raises ModelMissing, InvalidRequest for another kind."""
    if name == "none":
        return None
    if name:
        return late_named(name, settings.build.late_bits, settings)
    return None if spec is None else late_for(spec, settings)


def late_shelf(settings: Settings) -> LateShelf:
    """Opens the models of whatever collections are searched, when they are; new ones get that of the settings."""
    return LateShelf(
        lambda spec: late_for(spec, settings),
        default=settings.build.late,
        spec_of=lambda name: late_spec(find_model(name, settings.home), bits=settings.build.late_bits),
        offered=_is_late,
    )


def _is_late(name: str) -> bool:
    """Whether a caller of the API may name this model: one that the registry lists."""
    entry = listed(name)
    return entry is not None and entry.kind == "late"


def _missing(spec: LateSpec) -> LateEncoder:
    raise ModelMissing(f"there is no model here for the token vectors of {spec.model}")


class LateShelf:
    """Models of late interaction by what an index says of them, each loaded once. Thread-safe.

    ``default`` is the model of new collections, empty for none; ``offered`` says which others callers may name for
    one, and ``spec_of`` what an index says of a model by its name.
    """

    def __init__(
        self,
        load: Callable[[LateSpec], LateEncoder] = _missing,
        *,
        default: str = "",
        spec_of: Callable[[str], LateSpec] | None = None,
        offered: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self._load = load
        self._default, self._spec_of, self._offered = default, spec_of, offered
        self._lock = threading.Lock()
        self._held: dict[LateSpec, Deferred[LateEncoder]] = {}

    def get(self, spec: LateSpec) -> LateEncoder:
        """Raises ModelMissing, or Unavailable while it loads."""
        return self._entry(spec).get()

    def wait(self, spec: LateSpec) -> LateEncoder:
        """The same, once it is loaded."""
        return self._entry(spec).wait()

    def chosen(self, name: str | None) -> LateSpec | None:
        """How a new collection keeps token vectors: by the model that its maker names, by the default where that is
        None, not at all where it is empty. Raises InvalidRequest for a model that is not offered, ModelMissing."""
        wanted = self._default if name is None else name
        if not wanted:
            return None
        if self._spec_of is None or (wanted != self._default and not self._offered(wanted)):
            raise InvalidRequest(f"late: {wanted!r} is none that this server offers; leave it out for its own")
        return self._spec_of(wanted)

    def _entry(self, spec: LateSpec) -> Deferred[LateEncoder]:
        with self._lock:
            if spec not in self._held:
                self._held[spec] = Deferred("late", lambda: self._load(spec))
            return self._held[spec]
