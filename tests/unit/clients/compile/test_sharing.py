"""What cannot be shared is counted, and told with the next compile."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from reapi.clients.compile.local_cache import LocalCache
from reapi.clients.compile.manifest import Entry
from reapi.clients.compile.sharing import Sharing
from reapi.core.digest import SHA256, Digest
from reapi.core.errors import PermissionDenied, ReapiError, ResourceExhausted, Unavailable
from reapi.protos.reapi.compile.v1.manifest_pb2 import Result

ENTRY = Entry((), "", Result())


class _Service:
    """A server that takes what it is given, or fails."""

    server = "grpc://host:1"
    function = SHA256

    def __init__(self) -> None:
        self.refusal = ""
        self.failure: ReapiError | None = None
        self.shared: list[str] = []

    async def upload(self, blobs: object, files: object) -> None:
        assert not self.refusal
        if self.failure is not None:
            raise self.failure

    async def share_manifest(self, key: str, data: bytes, outputs: Iterable[Digest]) -> None:
        self.shared.append(key)


@pytest.fixture
def service() -> Any:
    return _Service()


@pytest.fixture
def failures() -> Counter[str]:
    return Counter()


@pytest.fixture
def sharing(tmp_path: Path, failures: Counter[str]) -> Sharing:
    return Sharing(
        LocalCache(tmp_path, 1 << 20, SHA256), lambda failure: failures.update([failure])
    )


async def _share(sharing: Sharing, service: Any, key: str) -> None:
    sharing.begin(service, key, b"manifest", ENTRY)
    await sharing.finish()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionDenied("who are you?"), "permission_denied"),
        (ResourceExhausted("full"), "resource_exhausted"),
        (Unavailable("away"), "unavailable"),
    ],
)
async def test_a_failure_is_counted_and_told_until_sharing_works_again(
    sharing: Sharing, service: Any, failures: Counter[str], error: ReapiError, kind: str
) -> None:
    assert sharing.trouble_with(service) == ""
    service.failure = error
    await _share(sharing, service, "a")
    await _share(sharing, service, "b")
    assert failures == {f"not shared: {kind}": 2}
    assert sharing.trouble_with(service) == f"nothing is shared: {error.message} (grpc://host:1)"
    service.failure = None
    await _share(sharing, service, "c")
    assert sharing.trouble_with(service) == ""
    assert service.shared == ["c"]


async def test_a_server_that_takes_no_results_is_not_sent_any(
    sharing: Sharing, service: Any, failures: Counter[str]
) -> None:
    service.refusal = "it takes no results"
    assert sharing.trouble_with(service) == "nothing is shared: it takes no results (grpc://host:1)"
    await _share(sharing, service, "a")
    assert not service.shared
    assert failures == {"not shared: permission_denied": 1}
