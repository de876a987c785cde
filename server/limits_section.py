"""The settings below [executor.limits]."""

from pydantic import Field, ValidationInfo, field_validator

from reapi.executor.limits import CPU, MEMORY, Limits

from .scheduler_section import amounts_of
from .section import Amount, Positive, Section


class LimitsSection(Section):
    """[executor.limits]: what one action may use"""

    # Memory of an action that books none; what one books (resource.memory) is its limit.
    memory: Amount | None = None
    # Cores. What an action books (resource.cpu) is its share when cores are short, not a limit.
    cpu: Amount | None = None
    # Processes and threads at once.
    processes: Positive = 4096
    # Of one process.
    open_files: Positive = Field(default=65_536, ge=64)
    # The largest file that an action may write, and all its outputs together.
    file_size_bytes: Positive = Field(default=32 << 30, ge=1 << 20)
    outputs_size_bytes: Positive = 32 << 30
    # stdout, and stderr; the log is kept up to here.
    log_size_bytes: Positive = 64 << 20
    # What an action has written to its directories, at any time.
    disk_size_bytes: Positive = 64 << 30

    @field_validator("memory", "cpu")
    @classmethod
    def _check_amount(cls, amount: str | None, info: ValidationInfo) -> str | None:
        if amount is not None and not dict(amounts_of({str(info.field_name): amount})):
            raise ValueError("0 would let nothing run: leave it out for no limit")
        return amount

    def limits(self) -> Limits:
        """As the executor takes them."""
        given = {MEMORY: self.memory, CPU: self.cpu}
        amounts = dict(amounts_of({name: text for name, text in given.items() if text is not None}))
        return Limits(
            memory_bytes=amounts.get(MEMORY),
            cpu_milli=amounts.get(CPU),
            processes=self.processes,
            open_files=self.open_files,
            file_size_bytes=self.file_size_bytes,
            outputs_size_bytes=self.outputs_size_bytes,
            log_size_bytes=self.log_size_bytes,
            disk_size_bytes=self.disk_size_bytes,
        )
