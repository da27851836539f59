"""Sets by their names in ``ir_datasets`` (MacAvaney et al., SIGIR 2021), which downloads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from eval.dataset_formats.files import SPLITS
from eval.datasets import Dataset, Qrels, Question
from retrieval.errors import InvalidRequest, Unavailable
from retrieval.types import Document

_TITLES = ("title", "headline", "name")
_TEXTS = ("text", "body", "abstract", "contents", "desc")


class Provided(Protocol):
    """One set of the package, as far as it is read here; what has no queries has no ``queries_iter``."""

    def docs_iter(self) -> Iterable[Any]: ...

    def queries_iter(self) -> Iterable[Any]: ...

    def qrels_iter(self) -> Iterable[Any]: ...


class Provider(Protocol):
    """The package. ``load`` raises KeyError for a name that it does not know."""

    def load(self, name: str) -> Provided: ...


def read(name: str, split: str | None, provider: Provider | None = None) -> Dataset:
    """Queries that have a judgement. ``split`` is put behind the name: ``beir/scifact`` and ``test``.

    Raises InvalidRequest for an unknown name or one without queries, judgements and documents of its own,
    Unavailable when it cannot be downloaded.
    """
    whole = f"{name}/{split}" if split and not name.endswith(f"/{split}") else name
    chosen = provider or _package()
    try:
        provided = chosen.load(whole)
        missing = [part for part in ("docs", "queries", "qrels") if not hasattr(provided, f"{part}_iter")]
        if missing:
            raise InvalidRequest(
                f"ir-datasets:{whole} has no {' and no '.join(missing)}; a name with its split has, such as "
                "ir-datasets:beir/scifact/test"
            )
        qrels: Qrels = {}
        for each in provided.qrels_iter():
            qrels.setdefault(str(each.query_id), {})[str(each.doc_id)] = int(each.relevance)
        questions = {
            str(each.query_id): Question(_text(each, ("text", "title", "query", "description")))
            for each in provided.queries_iter()
            if str(each.query_id) in qrels
        }
    except KeyError as error:
        raise InvalidRequest(f"ir_datasets knows no {whole}; its site lists all names") from error
    except OSError as error:  # requests' errors among them
        raise Unavailable(f"ir-datasets:{whole} cannot be downloaded ({error}); is there a network?") from error
    last = whole.rsplit("/", 1)[-1]
    kept = {query_id: qrels[query_id] for query_id in questions}
    found = split or (last if last in SPLITS else "")
    return Dataset(whole, found, questions, kept, lambda: _documents(provided), f"ir-datasets:{whole}")


def _documents(provided: Provided) -> Iterator[Document]:
    for each in provided.docs_iter():
        title = next((str(getattr(each, name)) for name in _TITLES if getattr(each, name, None)), "")
        yield Document(str(each.doc_id), _text(each, _TEXTS), title)


def _text(record: Any, names: Iterable[str]) -> str:
    """The first field of these that is there, else all that the record itself takes for its text."""
    found = next((str(getattr(record, name)) for name in names if getattr(record, name, None)), "")
    return found or (str(record.default_text()) if hasattr(record, "default_text") else "")


def _package() -> Provider:
    try:
        import ir_datasets
    except ImportError as error:
        raise InvalidRequest("ir-datasets: names need a package more: pip install ir-datasets") from error
    package: Provider = ir_datasets
    return package
