"""The key of an action result."""

from reapi.core.digest import Digest


def result_key(instance_name: str, action_digest: Digest) -> bytes:
    """Function, hash, size and instance (D11): instances do not see each other's results."""
    return action_digest.key + action_digest.size_bytes.to_bytes(8, "big") + instance_name.encode()
