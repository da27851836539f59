"""What a request says of how its query is to be read, and what a response says of how it was."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from retrieval.types import Correction
from services.query_settings import Rewrite, Spelling
from services.wire_ranking import Option


class Understanding(Option):
    """What is done to the query before it is searched; what is left out follows the server's settings."""

    spelling: Annotated[
        Spelling | None,
        Field(
            description="words that the collection does not know: `on` looks for the nearest that it does as well, "
            "`suggest` only says which, `off` leaves them; words in quotes always stay"
        ),
    ] = None
    rewrite: Annotated[
        Rewrite | None,
        Field(description="what a language model adds: `rewrite` other words, `hyde` a passage as an answer could be"),
    ] = None


class CorrectedWord(Option):
    typed: str
    meant: str


class WireCorrection(Option):
    """What the query was taken to mean."""

    query: Annotated[str, Field(description="the query with its misspelt words put right")]
    words: Annotated[list[CorrectedWord], Field(description="each word that was changed, in order")]
    searched: Annotated[bool, Field(description="whether it was searched beside the query; false only suggests it")]

    @classmethod
    def of(cls, correction: Correction, *, searched: bool) -> WireCorrection:
        words = [CorrectedWord(typed=typed, meant=meant) for typed, meant in correction.words]
        return cls(query=correction.query, words=words, searched=searched)


Corrected = Annotated[
    WireCorrection | None, Field(description="what the query was taken to mean, where words of it are misspelt")
]
