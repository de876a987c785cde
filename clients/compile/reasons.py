"""Why a call was not answered from a cache: what differs from the last time."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from reapi.core.digest import Digest

from .calls import Call
from .dep_info import variables_hold
from .file_states import FileStates
from .hits import Looked
from .keeping import Keeping
from .manifest import Entry

_MOST_NAMED = 5

Description = dict[str, Any]


class Reasons:
    """Remembers by output what its last call was, and tells what a later one has changed."""

    def __init__(self, keeping: Keeping, files: FileStates) -> None:
        self._keeping = keeping
        self._files = files

    def of(self, call: Call, looked: Looked) -> list[str]:
        """Sentences about what differs, the most telling first."""
        ours = [entry for entry in looked.entries if entry.root in ("", call.view.root)]
        if ours:
            return list(self._of_inputs(call, ours[0]))[:_MOST_NAMED]
        if looked.entries:
            return ["its result has the path of the checkout in it, and only others have made it"]
        now = self._describe(call)
        before = self._last(call)
        if before is None:
            return ["this machine and the server have never seen it"]
        differences = list(_differences(before, now))[:_MOST_NAMED]
        return differences or ["its result was evicted, or never kept"]

    def remember(self, call: Call) -> None:
        """Keeps what the call is, for the next one that makes the same output."""
        data = json.dumps(self._describe(call)).encode()
        self._keeping.put_manifest(_key(call), data)

    def _of_inputs(self, call: Call, entry: Entry) -> Iterator[str]:
        is_same = True
        for variable in entry.variables:
            if not variables_hold([variable], call.invocation.environment):
                is_same = False
                yield f"the variable {variable[0]} has changed"
        for path, digest in entry.records:
            now = self._files.digest(path)
            if now != digest:
                is_same = False
                yield f"{path} is gone" if now is None else f"{path} has changed"
        if is_same:
            yield "a file was added or removed where its inputs are looked for"

    def _describe(self, call: Call) -> Description:
        source: Digest | None = self._files.digest(call.source)
        return {
            "compiler": f"{call.compiler.path} {call.toolchain.digest[:16]}",
            "source": str(source),
            "directory": call.directory,
            "arguments": [str(word) for word in call.compilation.words],
            "environment": dict(call.variables),
            "settings": {"portable": call.settings.compile.portable, "root": call.view.root},
        }

    def _last(self, call: Call) -> Description | None:
        data = self._keeping.manifest(_key(call))
        if data is None:
            return None
        try:
            found = json.loads(data)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def _key(call: Call) -> str:
    name = f"call {call.path(call.compilation.output)}"
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()


def _differences(before: Description, now: Description) -> Iterator[str]:
    if before.get("compiler") != now["compiler"]:
        yield f"the compiler is another: {before.get('compiler')} -> {now['compiler']}"
    old, new = before.get("arguments", []), now["arguments"]
    yield from (f"the argument {word} is new" for word in new if word not in old)
    yield from (f"the argument {word} is gone" for word in old if word not in new)
    if sorted(old) == sorted(new) and old != new:
        yield "the arguments are in another order"
    for name in ("environment", "settings"):
        yield from _changed_values(before.get(name, {}), now[name], name)
    if before.get("directory") != now["directory"]:
        yield f"the working directory is another: {before.get('directory')} -> {now['directory']}"
    if before.get("source") != now["source"]:
        yield "the source has changed"


def _changed_values(old: Description, new: Description, what: str) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{what} {name}: {old.get(name)} -> {new.get(name)}"
