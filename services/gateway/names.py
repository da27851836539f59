"""What names in the gateway's paths look like."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Name = Annotated[str, Field(min_length=1, max_length=64, examples=["docs"])]
