"""Who wrote a result, in words for whoever looks for the origin of a bad one."""

import re

from reapi.core.interfaces import Call
from reapi.core.request_metadata import request_metadata

_LONGEST_WRITER_CHARACTERS = 200
_PORT = re.compile(r":[0-9]+\Z", re.ASCII)


def writer_of(call: Call) -> str:
    """The address of the caller without its port, and the tool that it says it is.

    Such as `10.1.2.3 bazel 7.1.0`; `ci@10.1.2.3 bazel 7.1.0` of a caller who has shown the token of
    that name. Nobody has verified the tool. Bounded, and on one line.
    """
    scheme, _, address = call.peer.partition(":")
    if scheme in ("ipv4", "ipv6"):
        address = _PORT.sub("", address.replace("%5B", "[").replace("%5D", "]"))
    else:
        address = call.peer  # a Unix socket, which has no address
    tool = request_metadata(call).tool_details
    if call.identity.name:
        address = f"{call.identity.name}@{address}"
    words = f"{address} {tool.tool_name} {tool.tool_version}".split()
    text = " ".join(words)
    if not text.isprintable():
        text = "".join(each if each.isprintable() else "?" for each in text)
    return text[:_LONGEST_WRITER_CHARACTERS]
