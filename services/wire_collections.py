"""The JSON of collections, documents and aliases: what callers write into them, and what they are shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, FiniteFloat

from retrieval.types import Document
from services.examples import BULK_RESPONSE, COLLECTION, DOCUMENT
from services.keys import PRINCIPAL
from services.ports import CollectionView, NewCollection, Put
from services.wire import Key, Wire, WireMetadata, wire_metadata

FieldKind = Literal["keyword", "number", "date", "boolean"]
GivenScalar = str | bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | FiniteFloat | None
Term = Annotated[str, Field(min_length=1, max_length=100)]
Principal = Annotated[str, Field(pattern=f"^{PRINCIPAL}$", examples=["group:eng"])]
Version = Annotated[int, Field(ge=0, lt=2**63)]


class WireCollection(Wire):
    name: str
    generation: Annotated[str, Field(description="changes with every change of a document")]
    documents: Annotated[int, Field(description="those that the key may see")]
    passages: int
    encoder: str
    dimension: int
    bytes: Annotated[int | None, Field(description="on disk; shown to keys that may write")]
    created: str
    vectors: Annotated[str, Field(description="how vectors are indexed, as a spec string")]
    fields: Annotated[dict[str, FieldKind], Field(description="declared kinds of metadata")]
    aliases: Annotated[list[str], Field(description="other names that stand for it")]
    late: Annotated[str, Field(description="the model that its token vectors come from; empty when it keeps none")] = ""

    @classmethod
    def of(cls, view: CollectionView, *, whole: bool) -> WireCollection:
        """``whole``: with what tells of documents that the caller may not see."""
        info = view.info
        return cls(
            name=info.name,
            generation=info.generation,
            documents=info.documents,
            passages=info.passages,
            encoder=info.encoder,
            dimension=info.dimension,
            bytes=info.bytes if whole else None,
            created=info.created,
            vectors=view.vectors,
            fields=dict(view.fields),
            aliases=list(view.aliases),
            late=view.late,
        )


class CollectionList(Wire):
    collections: list[WireCollection]
    default: Annotated[str, Field(description="the collection that a request without one means")]


class CollectionRequest(Wire):
    """How a collection is made; what is left out follows the server's settings."""

    encoder: Annotated[str, Field(max_length=200, description="a model that `riddle models list` names")] = ""
    vectors: Annotated[str, Field(max_length=100, description="`auto`, or a spec string such as `HNSW32,SQ8`")] = "auto"
    fields: dict[Key, FieldKind] = Field(default_factory=dict, max_length=100)
    synonyms: list[Annotated[list[Term], Field(min_length=2, max_length=20)]] = Field(
        default_factory=list, max_length=1000, description="terms that mean the same"
    )
    words: list[Term] = Field(
        default_factory=list, max_length=10_000, description="names that are not to be taken apart"
    )
    late: Annotated[
        str | None,
        Field(max_length=200, description="a model of late interaction that `riddle models list` names; empty: none"),
    ] = None

    model_config = ConfigDict(json_schema_extra={"examples": [COLLECTION]})

    def wanted(self) -> NewCollection:
        return NewCollection(
            encoder=self.encoder,
            vectors=self.vectors,
            fields=self.fields,
            synonyms=tuple(map(tuple, self.synonyms)),
            words=tuple(self.words),
            late=self.late,
        )


class DocumentBody(Wire):
    """A document as it is written; it takes the place of the one with its id."""

    text: Annotated[str, Field(pattern=r"\S", description="plain text; control characters are left out")]
    title: Annotated[str, Field(max_length=2000)] = ""
    source: Annotated[str, Field(max_length=2000, description="where it came from, for people")] = ""
    metadata: dict[Key, GivenScalar | list[GivenScalar]] = Field(default_factory=dict, max_length=200)
    acl: list[Principal] = Field(
        default_factory=list,
        max_length=1000,
        description="principals that may see it; everybody may when it is empty",
    )
    vector: Annotated[
        list[FiniteFloat] | None,
        Field(min_length=1, max_length=65_536, description="of the whole text, which is one passage then"),
    ] = None

    model_config = ConfigDict(json_schema_extra={"examples": [DOCUMENT]})

    def put(self, document_id: str, version: int = 0, if_version: int | None = None) -> Put:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused with its reason
            vector = None if self.vector is None else np.asarray(self.vector, "<f4").tobytes()
        document = Document(
            document_id, self.text, self.title, self.source, self.metadata, tuple(dict.fromkeys(self.acl)), version
        )
        return Put(document, vector, if_version)


class WireDocument(Wire):
    document_id: str
    text: str
    title: str
    source: str
    metadata: WireMetadata
    version: int
    acl: Annotated[list[str] | None, Field(description="who may see it; shown to keys that may write")] = None

    @classmethod
    def of(cls, document: Document, *, whole: bool) -> WireDocument:
        """``whole``: with who else may see it."""
        return cls(
            document_id=document.document_id,
            text=document.text,
            title=document.title,
            source=document.source,
            metadata=wire_metadata(document.metadata),
            version=document.version,
            acl=list(document.acl) if whole else None,
        )


class DocumentWritten(Wire):
    document_id: str
    version: int
    generation: Annotated[str, Field(description="the state that holds it; the next search sees it")]


class BulkResponse(Wire):
    took: Annotated[int, Field(description="milliseconds")]
    errors: Annotated[bool, Field(description="whether any item failed")]
    items: Annotated[list[dict[str, Any]], Field(description="by line, in order: the action, and what came of it")]
    generation: Annotated[str, Field(description="the state that holds what was written; empty when nothing was")]

    model_config = ConfigDict(json_schema_extra={"examples": [BULK_RESPONSE]})


class AliasRequest(Wire):
    collection: Annotated[str, Field(min_length=1, max_length=64, examples=["docs-2026"])]


class Aliases(Wire):
    aliases: Annotated[dict[str, str], Field(description="alias to collection")]
