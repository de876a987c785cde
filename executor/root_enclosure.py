"""The enclosure of a command whose root file system is its input root or an image."""

import os
from dataclasses import replace

from .roots import Root
from .sandbox import INPUT_ROOT, RESOLVER, Bind, Directory, Enclosure

_SUPERUSER = 0
"""What commands are in such a file system: their tools expect it, and it gives them no right."""


def with_root(enclosure: Enclosure, root: Root) -> Enclosure:
    """The same enclosure, which has the host's tools, with `root` in their place."""
    if root.image is not None:
        return replace(
            enclosure,
            root=Directory(root.image, read_only=True),
            input_root_at=INPUT_ROOT,
            read_only=_resolver(enclosure, root.image),
            user_id=_SUPERUSER,
        )
    if root.mounts is not None:
        return replace(
            enclosure,
            root=Directory(enclosure.input_root, read_only=False),
            input_root_at="/",
            temporary=enclosure.temporary if root.mounts.temporary else None,
            read_only=_resolver(enclosure, enclosure.input_root),
            user_id=_SUPERUSER,
        )
    return enclosure


def _resolver(enclosure: Enclosure, root: str) -> tuple[Bind, ...]:
    """The files of the host's that the network is of no use without, where they have a place."""
    if not enclosure.network:
        return ()
    return tuple(bind for bind in RESOLVER if _has_place(root, bind))


def _has_place(root: str, bind: Bind) -> bool:
    """Whether the host has such a file, and `root` one to mount it on, and no symlink instead."""
    place = os.path.realpath(root) + bind.target
    return (
        os.path.isfile(bind.source) and os.path.isfile(place) and os.path.realpath(place) == place
    )
