"""What every part of a spec shares."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Stream = Literal["rgb", "flow"]


class Spec(BaseModel):
    """Base of every spec: frozen, unknown fields refused, field docstrings published in the JSON schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
