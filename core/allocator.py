"""How the C library's allocator deals with buffers of megabytes that come and go."""

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 32 << 20


def keep_freed_memory() -> None:
    """Lets this process keep up to 32 MiB that it has freed, where the C library is glibc.

    By default what is freed at the end of the heap goes back to the kernel at once, and each buffer
    of a message costs a fault per page again: as much time as it takes to fill it.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
