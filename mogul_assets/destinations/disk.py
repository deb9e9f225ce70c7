"""The disk as a destination: what its errors mean, and trying what it lets us do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from filelock import FileLock

from mogul_assets.destinations.base import Permission
from mogul_assets.errors import DestinationRefused, DestinationUnavailable

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EMFILE, errno.ENFILE, errno.EINTR)
"""What a network file system, or a moment of too many open files, says: worth another try."""


@contextmanager
def writing(place: Path, *, destination: str) -> Iterator[None]:
    """Tells an ``OSError`` of the block in one line.

    Raises:
        DestinationUnavailable: where it may pass.
        DestinationRefused: for a full disk, a folder that may not be written to and the like.
    """
    try:
        yield
    except OSError as error:
        raise told(error, place, destination=destination) from error


def told(error: OSError, place: Path, *, destination: str) -> DestinationRefused | DestinationUnavailable:
    """The error of this project that says what an ``OSError`` at ``place`` means."""
    what = f"{destination}: cannot write to {place}: {error.strerror or error}"
    if error.errno in _FULL:
        return DestinationRefused(what, remedy="free some space there")
    if error.errno in _PASSING:
        return DestinationUnavailable(what, remedy="it is tried again")
    return DestinationRefused(what, remedy="name a path that the user running this may write to")


@contextmanager
def borrowed(folder: Path) -> Iterator[None]:
    """The folder, made with its parents for the time of the block; what was made is removed again."""
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for parent in made:
            with suppress(OSError):  # never made, or in use by somebody else by now
                parent.rmdir()


def permissions(folder: Path) -> list[Permission]:
    """Make the folder, write a file, rename it and lock it, really; and undo each of them.

    What needs a permission that is missing is left out.
    """
    scratch, renamed = (folder / f".mogul-check-{token_hex(4)}{end}" for end in ("", ".renamed"))
    found: list[Permission] = []
    trying = "have the folder"
    try:
        with borrowed(folder):
            found.append(Permission(trying))
            try:
                for trying, attempt in (
                    ("write a file", lambda: _written(scratch)),
                    ("rename a file", lambda: scratch.replace(renamed)),
                    ("lock a file", lambda: _locked(renamed)),
                ):
                    attempt()
                    found.append(Permission(trying))
            finally:
                for left in (scratch, renamed):
                    left.unlink(missing_ok=True)
    except OSError as error:
        failed = told(error, folder, destination=trying)
        found.append(Permission(trying, error.strerror or str(error), failed.remedy))
    return found


def _written(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"mogul")
        file.flush()
        os.fsync(file.fileno())


def _locked(path: Path) -> None:
    with FileLock(path, blocking=False):
        pass
