"""How a caller may have its search ranked: the JSON of `ranking`, and the limits of each field."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from retrieval.fusion import FusionMethod, Normalisation


class Option(BaseModel):
    """An unknown field is an error, as in all that callers write."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fusion(Option):
    """How the channels' rankings are combined; what is left out follows the server's settings."""

    method: Annotated[
        FusionMethod | None,
        Field(description="by ranks, by scores laid on one scale, or by how each channel's scores are distributed"),
    ] = None
    k: Annotated[int | None, Field(ge=1, le=10_000, description="the constant of `rrf`; goes with no other")] = None
    normalisation: Annotated[
        Normalisation | None,
        Field(description="the scale of `weighted`: the best hit at 1, or standard deviations; goes with no other"),
    ] = None
    weights: Annotated[
        dict[Literal["lexical", "dense"], Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]] | None,
        Field(description="weight 0 leaves a channel out; one not named keeps the server's weight"),
    ] = None


class Rerank(Option):
    """How many passages the cross-encoder reads; 0 for none, ``auto`` for the server's choice."""

    depth: Literal["auto"] | Annotated[int, Field(ge=0, le=1000)] = "auto"


class Mmr(Option):
    """Diversity by the balance of maximal marginal relevance: 1 keeps the order, 0 asks for variety alone."""

    mmr_lambda: Annotated[float, Field(ge=0, le=1, strict=True)]


class RankingOptions(Option):
    fusion: Fusion = Fusion()
    rerank: Rerank = Rerank()
    diversity: Annotated[
        Annotated[float, Field(ge=0, le=1, strict=True)] | Mmr | None,
        Field(
            description="how much variety counts beside relevance: 0 not at all, near 1 almost alone; `mmr_lambda` is "
            "1 less it. It rearranges the first 100 places; scores stay"
        ),
    ] = None
    min_probability: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            strict=True,
            description="leave out what is less probably relevant; for servers with `rank.order=blend`, where scores "
            "are probabilities whatever stages ran",
        ),
    ] = None
