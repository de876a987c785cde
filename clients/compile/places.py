"""Where the compile clients keep things. Imports little: the launcher needs it."""

import os
from collections.abc import Mapping


def default_cache_directory(environment: Mapping[str, str]) -> str:
    """Where a user's compile clients keep what they keep, unless told otherwise."""
    cache_home = environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache_home, "reapi", "cc")
