"""A call that no cache answers, and what is known and told of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reapi.core.errors import ReapiError

from .calls import Call
from .hits import Looked
from .model import Product
from .outcome import Outcome, OutcomeKind, Phase
from .rustc_arguments import RustCompilation
from .search_path import SearchPath
from .service import Service
from .sharing import kind_of


@dataclass(slots=True)
class Miss:
    """A call that no cache answers. `trouble` is what the service failed with, if it did."""

    call: Call
    search: SearchPath
    looked: Looked
    phases: list[Phase] = field(default_factory=list)
    service: Service | None = None
    trouble: ReapiError | None = None
    reasons: tuple[str, ...] = ()

    @property
    def is_for_executors(self) -> bool:
        """Whether the settings have it made by the service."""
        settings = self.call.settings.compile
        return not settings.read_only and settings.strategy != "local"

    @property
    def is_compile(self) -> bool:
        """Whether its caller makes it as well as we do, when no executor is to."""
        compilation = self.call.compilation
        is_crate = isinstance(compilation, RustCompilation)
        return compilation.product is Product.OBJECT and not is_crate

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """What is done within is a phase of its."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.phases.append(Phase(name, begin, time.monotonic()))

    def outcome(self, kind: OutcomeKind, reason: str = "") -> Outcome:
        """What became of it."""
        compilation = self.call.compilation
        failure = trouble = ""
        if self.trouble is not None:
            failure = kind_of(self.trouble)
            trouble = f"{self.trouble.message} ({self.call.settings.connection.server})"
        return Outcome(
            kind,
            compilation.source,
            compilation.output,
            reason or "no cache has it",
            self.reasons,
            tuple(self.phases),
            failure,
            trouble,
        )
