"""Claims a uid per slot, so that an action can touch neither the executor nor another slot.

Only root can run commands under other uids; and a uid is of use only where it can reach the input
roots. Who may not or cannot, runs actions under the executor's own uid.
"""

import logging
import os
import socket
from functools import partial
from pathlib import Path

from reapi.core.errors import FailedPrecondition

from .processes import end_all, others

_LOG = logging.getLogger(__name__)
_FIRST_UID = 60600
_UIDS = 500
"""60578 to 61183 are given to nobody by Debian and by systemd, and are mapped in containers."""


class ActionUid:
    """A uid that no other executor on this machine uses until `release`, or the process, ends.

    The claim is an abstract socket address: nothing stays behind when an executor is killed. What
    still runs under the uid is of one that was, and is ended.
    """

    def __init__(self) -> None:
        for uid in range(_FIRST_UID, _FIRST_UID + _UIDS):
            claim = _claim(uid)
            if claim is not None:
                self.number = uid
                self._claim = claim
                end_all(partial(_running, uid))
                return
        raise FailedPrecondition(
            f"all {_UIDS} uids for actions from {_FIRST_UID} on are in use; run fewer slots"
        )

    def release(self) -> None:
        """Another executor may use the uid from now on: nothing may run under it any more."""
        self._claim.close()


def end_processes_of(uid: int) -> None:
    """Ends what an earlier life has left under its uid. Blocks.

    If another executor has claimed the uid meanwhile, it has done so then.
    """
    claim = _claim(uid)
    if claim is not None:
        with claim:
            end_all(partial(_running, uid))


def is_action_uid(uid: int) -> bool:
    """Whether an executor on this machine may have run actions under it."""
    return _FIRST_UID <= uid < _FIRST_UID + _UIDS


def _claim(uid: int) -> socket.socket | None:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0reapi-action-uid-{uid}")
    except OSError:
        claim.close()
        return None
    return claim


def _running(uid: int) -> list[int]:
    """Not in containers below us, which claim their uids apart from us."""
    return [pid for pid, state in others() if state.real_uid == uid and not state.is_contained]


def can_separate_uids(work_directory: Path) -> bool:
    """Whether actions can run under uids of their own in `work_directory`; the log says why not."""
    if os.geteuid() != 0:
        _LOG.warning(
            "not running as root: actions share this user's rights; "
            "an input that one alters is noticed by its time and size only"
        )
        return False
    for directory in (work_directory, *work_directory.parents):
        if not directory.stat().st_mode & 0o001:
            _LOG.warning(
                "actions run as root, with its rights: their own users cannot reach %s; "
                "move cache_dir, or allow it with: chmod o+x %s",
                work_directory,
                directory,
            )
            return False
    return True
