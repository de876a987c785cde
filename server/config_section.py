"""What all sections of the settings have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A table of the settings file: no other keys than its fields, and never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
