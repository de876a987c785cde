"""Calls of compilers as text, and what is understood of them."""

from collections.abc import Mapping
from typing import Any

from reapi.clients.compile.arguments import understand
from reapi.clients.compile.model import Compilation, Family, Invocation, Local

BOTH = [Family.GCC, Family.CLANG]
ROOT = "/home/user/checkout"


def result_of(
    text: str | list[str],
    family: Family = Family.GCC,
    *,
    is_cplusplus: bool = False,
    directory: str = ROOT,
    environment: Mapping[str, str] | None = None,
    root: str | None = None,
) -> Compilation | Local:
    words = text.split() if isinstance(text, str) else text
    invocation = Invocation(("compiler", *words), directory, environment or {})
    return understand(invocation, family, is_cplusplus=is_cplusplus, root=root)


def local(text: str | list[str], family: Family = Family.GCC, **how: Any) -> Local:
    result = result_of(text, family, **how)
    assert isinstance(result, Local), result
    return result


def compilation(text: str | list[str], family: Family = Family.GCC, **how: Any) -> Compilation:
    result = result_of(text, family, **how)
    assert isinstance(result, Compilation), result
    return result
