"""What every part of a spec shares."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

Stream = Literal["rgb", "flow"]


class Spec(BaseModel):
    """Base of every spec: frozen, unknown fields refused, field docstrings published in the JSON schema.

    Attributes:
        later: fields that are younger than the keys of stages. At their defaults they are no part of a key, so that
            work that was done before is found again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    later: ClassVar[frozenset[str]] = frozenset()

    def key_content(self) -> dict[str, Any]:
        """Return what of it is part of a stage's key."""
        fields = type(self).model_fields
        return self.model_dump(
            mode="json", exclude={name for name in self.later if getattr(self, name) == fields[name].get_default()}
        )
