"""Writing so that a crash at any moment leaves the old or the new, and saying in one line why it failed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mogul_assets.errors import StoreUnwritable

_REASONS = {
    errno.ENOSPC: ("the disk is full", "make room, then run again; nothing was lost"),
    errno.EDQUOT: ("the disk quota is used up", "make room, then run again; nothing was lost"),
    errno.EFBIG: (
        "a file would exceed the size allowed",
        "raise the limit (ulimit -f), then run again; nothing was lost",
    ),
    errno.EACCES: ("permission is denied", "give this user the right to write there"),
    errno.EPERM: ("permission is denied", "give this user the right to write there"),
    errno.EROFS: ("the file system is read-only", "mount it writable, or choose another folder"),
    errno.ENOTDIR: ("a part of the path is not a folder", "choose another folder"),
    errno.EEXIST: ("a file lies where a folder has to be", "move it away, or choose another folder"),
}


@contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Turns an operating system's error under it into one line about ``place``.

    Raises:
        StoreUnwritable: where the place is full, read-only or not a folder.
    """
    try:
        yield
    except OSError as error:
        reason, remedy = _REASONS.get(error.errno or 0, (None, ""))
        if reason is None:
            raise
        raise StoreUnwritable(f"cannot write to {place}: {reason}", remedy=remedy) from error


def replace(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Put ``content`` in the place of the file at once: a reader sees the old whole or the new whole.

    ``mode`` is who may read and write it, where that is not what the process gives a new file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    settle(path.parent)


def settle(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
