"""What all tables of the settings share."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
NotNegativeSeconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Role = Literal["frontend", "scheduler", "executor"]


def _text(value: Any) -> Any:
    """Amounts may be numbers in TOML: `gpu = 1` is `gpu = "1"`."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return str(value) if is_number else value


Amount = Annotated[str, BeforeValidator(_text)]
"""Of a resource, as scheduler/resource_properties.py reads it."""


class Section(BaseModel):
    """A table: unknown keys are refused, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)
