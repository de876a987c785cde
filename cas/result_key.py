"""The key of an action result."""

from reapi.core.digest import DIGEST_FUNCTIONS, Digest, digest_of_key

_SIZE_BYTES = 8
_KEY_BYTES = {function.number: 1 + function.hash_bytes for function in DIGEST_FUNCTIONS}


def result_key(instance_name: str, action_digest: Digest) -> bytes:
    """Function, hash, size and instance (D11): instances do not see each other's results."""
    return action_digest.key + action_digest.size_bytes.to_bytes(8, "big") + instance_name.encode()


def parse_result_key(key: bytes) -> tuple[str, Digest] | None:
    """Instance name and action digest; None for other rows, which share the table."""
    hash_end = _KEY_BYTES.get(key[0])
    if hash_end is None:
        return None
    size_end = hash_end + _SIZE_BYTES
    size = int.from_bytes(key[hash_end:size_end], "big")
    return key[size_end:].decode(), digest_of_key(key[:hash_end], size)
