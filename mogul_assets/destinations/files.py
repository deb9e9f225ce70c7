"""Deliveries into a folder: the flow of ``objects`` on a disk."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any, ClassVar

from filelock import FileLock, Timeout
from pydantic import Field

from mogul_assets.destinations import disk
from mogul_assets.destinations.base import Permission
from mogul_assets.destinations.objects import Bucket, Listed, Objects, Problem
from mogul_assets.errors import DestinationUnavailable, StoreDamaged
from mogul_assets.store import durable


class FilesDestination(Objects):
    """One folder, with a folder per dataset in it; Parquet files are the store's own bytes.

    A windowed dataset has a file a month; a month that did not change keeps its file. Files are copied rather
    than linked: the store removes its own.
    """

    EXAMPLE: ClassVar[Mapping[str, Any]] = {"path": "out/files"}

    path: str = Field(description="The folder; it is made where it is missing.")
    wait_seconds: float = Field(default=20, ge=0, description="How long to wait for another delivery to end.")

    def check(self) -> list[Permission]:
        """Tries the folder: making it, and writing, renaming and locking a file in it."""
        return disk.permissions(self._root)

    @property
    def _root(self) -> Path:
        return Path(self.path).expanduser()

    def _opened(self) -> AbstractContextManager[Bucket]:
        return nullcontext(Folder(self._root, destination=self.name, wait_seconds=self.wait_seconds))


class Folder(Bucket):
    """A folder on a disk. ``swap`` asks for no version: deliveries take turns there."""

    workers = 1  # the disk is what they would all wait for

    def __init__(self, path: Path, *, destination: str, wait_seconds: float) -> None:
        self._path, self._destination, self._wait = path, destination, wait_seconds
        self._written: set[Path] = set()
        self.root = f"{path}/"

    def get(self, key: str) -> tuple[bytes, str] | None:
        try:
            return self._path.joinpath(key).read_bytes(), ""
        except FileNotFoundError:
            return None

    def put(self, key: str, content: bytes) -> None:
        durable.replace(self._path / key, content)

    def swap(self, key: str, content: bytes, version: str | None) -> bool:  # noqa: ARG002 - see above
        for folder in self._written:
            durable.settle(folder)
        self.put(key, content)
        return True

    def size(self, key: str) -> int | None:
        path = self._path / key
        return path.stat().st_size if path.is_file() else None

    def upload(self, key: str, path: Path, sha256: str) -> None:
        target = self._path / key
        target.parent.mkdir(parents=True, exist_ok=True)
        with _whole(target) as part:
            shutil.copyfile(path, part)
            # The disk is slower than the checksum: both at once take what a copy without one takes.
            with part.open("rb+") as copy, ThreadPoolExecutor(1) as beside:
                synced = beside.submit(os.fsync, copy.fileno())
                digest = hashlib.file_digest(copy, "sha256").hexdigest()
                synced.result()
            if digest != sha256:
                raise StoreDamaged(f"{path} is not what its checksum says", remedy="refresh the dataset")
        self._written.add(target.parent)

    def download(self, key: str, path: Path) -> None:
        path.symlink_to(self._path.absolute() / key)

    def delete(self, key: str) -> None:
        path = self._path / key
        path.unlink(missing_ok=True)
        with suppress(OSError):  # the folder of a date, with others in it
            path.parent.rmdir()

    def listing(self, folder: str) -> Iterator[Listed]:
        for path in sorted(self._path.joinpath(folder).rglob("*")):
            with suppress(FileNotFoundError):
                if path.is_file():
                    yield Listed(
                        path.relative_to(self._path).as_posix(), datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    )

    def folders(self) -> Iterator[str]:
        if self._path.is_dir():
            yield from (f"{path.name}/" for path in self._path.iterdir() if path.is_dir())

    def problem(self, error: Exception) -> Problem | None:
        if not isinstance(error, OSError):
            return None
        told = disk.told(error, self._path, destination=self._destination)
        said = error.strerror or str(error)
        return Problem(said, told.remedy, passing=isinstance(told, DestinationUnavailable))

    def removal(self, glob: str) -> str:
        folder = glob.removesuffix("/*")
        if "*" not in folder:
            return f"rm -r {quote(str(self._path / folder))}"
        return f"rm {quote(str(self._path))}/{glob}"

    @contextmanager
    def alone(self, dataset: str) -> Iterator[None]:
        folder = self._path / dataset
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=self._wait)
        try:
            lock.acquire()
        except Timeout:
            raise DestinationUnavailable(
                f"{self._destination}: another delivery holds {folder}", remedy="it is tried again"
            ) from None
        try:
            yield
        finally:
            lock.release()


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """What to write to instead; it takes the target's place, or goes where that fails."""
    part = target.with_name(f"{target.name}.part")
    try:
        yield part
        part.replace(target)
    except Exception:
        with suppress(OSError):
            part.unlink()
        raise
