"""Types of arguments and options: digests, K=V pairs, durations, times."""

import re
from typing import TYPE_CHECKING, Any

import click

from .session import current_settings

if TYPE_CHECKING:
    from datetime import datetime

    from reapi.core.digest import Digest

_AGO = re.compile(r"(\d{1,9})([smhd])\Z", re.ASCII)
_AGO_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class DigestType(click.ParamType["Digest"]):
    """HASH/SIZE; the setting `digest_function` is meant by hashes of its length."""

    name = "HASH/SIZE"

    def convert(self, value: Any, param: Any, ctx: Any) -> "Digest":
        from reapi.core.digest import function_named, parse_digest_text
        from reapi.core.errors import InvalidArgument

        try:
            default = function_named(current_settings().digest_function)
            return parse_digest_text(value, default)
        except InvalidArgument as error:
            raise click.ClickException(error.message) from error


class PairType(click.ParamType[tuple[str, str]]):
    """K=V; the value may be empty and may hold more equal signs."""

    name = "K=V"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        key, separator, rest = value.partition("=")
        if not separator or not key:
            self.fail(f"{value!r} is not of the form K=V", param, ctx)
        return key, rest


class DurationType(click.ParamType[float]):
    """A number with ms, s, m or h; seconds without."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        from reapi.clients.duration import parse_duration
        from reapi.core.errors import InvalidArgument

        try:
            return parse_duration(value)
        except InvalidArgument as error:
            self.fail(error.message, param, ctx)


class TimeType(click.ParamType["datetime"]):
    """A time as ISO 8601 has it, local unless it names a zone, or how long ago."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> "datetime":
        from datetime import UTC, datetime, timedelta

        ago = _AGO.match(value)
        try:
            if ago is not None:
                return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _AGO_SECONDS[ago[2]])
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time such as 2026-11-21T08:00:00Z or 2h", param, ctx)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
digest_argument = click.argument("digest", type=DigestType(), metavar="HASH/SIZE")
