"""Deliveries as files: data objects that never change, and one manifest a dataset that says which of them count.

A reader reads ``<dataset>/manifest.json`` and then the files that it names, and nothing else. The manifest is
written last, and only where it still is what the delivery began from: of two deliveries at once one loses, reads
again and decides anew. What a manifest stops naming stays for a grace time, so that whoever began to read goes on
undisturbed. This is the flow of every such place, a folder or an object store; a ``Bucket`` is what differs.
"""

import re
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import dagster as dg
import msgspec
from pydantic import Field, field_validator

from mogul_assets.destinations import formats
from mogul_assets.destinations.base import (
    Capabilities,
    Delivered,
    Destination,
    Leftover,
    Outcome,
    Permission,
    Preview,
)
from mogul_assets.destinations.formats import Layout, relation
from mogul_assets.destinations.log import KEPT, Entry
from mogul_assets.destinations.manifest import (
    NAME,
    Manifest,
    ManifestColumn,
    ManifestFile,
    after,
    columns_after,
    refuse_window,
    type_of,
)
from mogul_assets.destinations.relations import differences, kinds, parquet, types
from mogul_assets.destinations.template import DEFAULT, PLACEHOLDERS, Template
from mogul_assets.errors import DestinationRefused, DestinationUnavailable, DestinationUnreachable, MogulError
from mogul_assets.store.sql import connect
from mogul_assets.store.table import DataFile, Table

LOG = "_deliveries"
CONNECTING = 20
"""Seconds until a place counts as out of reach."""
READING = 60
"""Seconds until a server that says nothing counts as gone."""

_ABANDONED = timedelta(days=1)
"""No delivery lasts as long: what it wrote and no manifest names is a failed one's."""
_TRIES = 10
"""How often a delivery that lost against another decides anew."""


@dataclass(frozen=True, slots=True)
class Listed:
    key: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Problem:
    """What a vendor's error means: in a few words that hold no secret and no data, and what to do."""

    said: str
    remedy: str
    passing: bool = False


class Bucket(ABC):
    """A place of named objects, as the flow needs it. Keys are below ``root``; errors are the vendor's own."""

    root: str
    """As a person writes it, ending in ``/``: ``s3://bucket/prefix/``."""
    workers: ClassVar[int] = 4
    """How many files are sent at a time."""

    @abstractmethod
    def get(self, key: str) -> tuple[bytes, str] | None:
        """The object and its version, if it is there."""

    @abstractmethod
    def put(self, key: str, content: bytes) -> None: ...

    @abstractmethod
    def swap(self, key: str, content: bytes, version: str | None) -> bool:
        """Replace the object where it still is of that version, or make it where there is none; whether it was so."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """How many bytes the object has, if it is there."""

    @abstractmethod
    def upload(self, key: str, path: Path, sha256: str) -> None:
        """Make the object of a file, whole or not at all, in parts where it is large.

        Raises:
            StoreDamaged: where the file is not what its checksum says.
        """

    @abstractmethod
    def download(self, key: str, path: Path) -> None: ...

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object, if it is there."""

    @abstractmethod
    def listing(self, folder: str) -> Iterator[Listed]:
        """The objects whose keys begin with ``folder``, in the order of their keys, asked for page by page."""

    @abstractmethod
    def folders(self) -> Iterator[str]:
        """The first steps of all keys that have another, each ending in ``/``."""

    @abstractmethod
    def problem(self, error: Exception) -> Problem | None:
        """What the error says; ``None`` where it is not the vendor's."""

    @abstractmethod
    def removal(self, glob: str) -> str:
        """The command that removes the objects of these keys."""

    def link(self, key: str, seconds: int) -> str:  # noqa: ARG002 - a folder has none
        """What fetches the object for so long without a log-in, as a file of the name that the key ends in.

        Raises:
            DestinationRefused: where such credentials cannot sign one.
        """
        raise DestinationRefused(f"{self.root} has no links", remedy="name an S3, GCS or Azure Blob destination")

    def links_end_early(self) -> Problem | None:
        """Why a link may end before its time; ``None`` where it does not."""
        return None

    def in_parts(self, key: str) -> None:  # noqa: B027 - not every place has parts
        """Begin to make a large object in parts, and leave it at that."""

    def abandoned(self, folder: str, ours: re.Pattern[str], before: datetime) -> None:  # noqa: B027 - nor such uploads
        """Remove uploads in parts of keys that are ours, which began before and never ended."""

    def alone(self, dataset: str) -> AbstractContextManager[None]:  # noqa: ARG002 - where ``swap`` is enough
        """Holds off other deliveries of the dataset, where ``swap`` alone cannot."""
        return nullcontext()


class _Step:
    """What a verb is at, and what it leaves if that fails: told with the error."""

    doing = "begin"
    stands = "what lay there stands"

    def __init__(self) -> None:
        self.there: dict[DataFile, tuple[ManifestFile, ...]] = {}
        """The data files that hold what those of the store do."""
        self.written: list[str] = []
        """The keys of those that it wrote, or began to: names of its own, which nobody else can know."""


_Item = TypeVar("_Item")
_Done = TypeVar("_Done")


class Objects(Destination):
    """Files with a manifest, wherever they lie."""

    format: Literal["parquet", "csv", "jsonl"] = Field(
        default="parquet", description="Parquet, CSV (RFC 4180) or JSON lines."
    )
    compression: Literal["zstd", "gzip", "none"] = Field(default="zstd", description="Of the data files.")
    template: str = Field(
        default=DEFAULT,
        description=f"Path of the data files. Placeholders: {' '.join(f'{{{name}}}' for name in PLACEHOLDERS)}.",
    )
    file_mb: float = Field(default=1024, gt=0, description="Data files end where they reach this size.")
    keep: Literal["latest", "all"] = Field(
        default="latest", description="Whether files of earlier deliveries are removed, or every delivery stays."
    )
    grace_seconds: float = Field(
        default=3600, ge=0, description="How long files stay that the manifest no longer names."
    )

    @field_validator("template")
    @classmethod
    def _fit(cls, text: str) -> str:
        return Template(text).text

    @abstractmethod
    def _opened(self) -> AbstractContextManager[Bucket]:
        """The bucket, connected to. Raises errors of this project only."""

    def _grant(self, permission: str) -> str:  # noqa: ARG002 - where one grant gives them all
        """What grants a permission, by its name in ``check``."""
        return self.grants()

    @property
    def capabilities(self) -> Capabilities:
        """Everything: the formats have no limits of their own."""
        return Capabilities()

    def deliver(self, table: Table) -> Delivered:
        """Send the files that are not there yet, then replace the manifest.

        Raises:
            DestinationUnavailable: out of reach, or other deliveries of the dataset were always faster.
            DestinationRefused: a permission is missing, the dataset there is another destination's, a column changed
                its type in files that stay, a window that is not whole months, and the like.
            StoreDamaged: a file of the table is missing, or is not what its checksum says.
        """
        began, started_at, delivery = time.monotonic(), datetime.now(UTC), token_hex(8)
        refuse_window(table)
        with self._opened() as bucket, self._telling(bucket) as step, bucket.alone(table.dataset):
            try:
                manifest, anew = self._replaced(bucket, table, delivery, started_at, step)
            except Exception:
                if step.stands == _Step.stands:
                    self._undone(bucket, table.dataset, step.written)
                raise
            if manifest is None:
                self._undone(bucket, table.dataset, step.written)
            step.stands = "what was delivered stands"
            outcome = Outcome.DELIVERED if manifest else Outcome.SUPERSEDED
            entry = Entry.of(table, outcome, started_at=started_at, delivery_id=delivery)
            if manifest:
                sent = [file.bytes for file in manifest.replaced_by(table)]
                entry = msgspec.structs.replace(entry, bytes=sum(sent))
            step.doing = "write the log of deliveries"
            self._logged(bucket, entry)
            unswept = self._swept(bucket, manifest) if manifest else None
        location = bucket.root + _manifest(table.dataset)
        delivered = entry.delivered(location, seconds=time.monotonic() - began, anew=anew)
        details = delivered.details if unswept is None else {**delivered.details, "unswept": unswept}
        return replace(delivered, details=details)

    def preview(self, table: Table) -> Preview:
        """What ``deliver`` would do: it raises what that would refuse, and names the objects that it would write."""
        refuse_window(table)
        counts: tuple[int, int, int] = (table.rows, 0, 0)
        with self._opened() as bucket, self._telling(bucket) as step:
            step.doing = "read the manifest"
            held, _ = self._own(bucket, table.dataset)
            self._columns(bucket, held, table)
            gone = held.replaced_by(table) if held else ()
            if held and table.key:
                step.doing = "read the data files"
                counts = self._compared(bucket, table, held, gone)
            there = {file: held.made_of(file, self._layout.ext) if held else () for file in table.files}
            names = [self._key(table, file, datetime.now(UTC), "0000-*") for file in table.files if not there[file]]
            writes = [bucket.root + key for key in (*names, _manifest(table.dataset))]
            stay = {file for files in there.values() for file in files}
        new, changed, missing = counts if table.key else (None, None, None)
        return Preview(
            location=bucket.root + _manifest(table.dataset),
            rows=table.rows,
            columns=tuple((field.name, type_of(field)) for field in table.schema),
            window=table.window,
            new=new,
            changed=changed,
            gone=missing,
            statements=(
                *(f"PUT {name}" for name in writes),
                *(f"RETIRE {bucket.root}{file.file}" for file in gone if file not in stay),
            ),
        )

    def check(self) -> list[Permission]:
        """Tries what deliveries do, each with a scratch object, which is removed again."""
        key, found = f".mogul-check-{token_hex(8)}", list[Permission]()

        def tried(name: str, attempt: Callable[[], object]) -> bool:
            try:
                with self._telling(bucket) as step:
                    step.doing, step.stands = name, ""
                    attempt()
            except MogulError as error:
                found.append(Permission(name, error.message, self._grant(name)))
            else:
                found.append(Permission(name))
            return found[-1].problem is None

        def conditional() -> None:
            if bucket.swap(key, b"other", None):
                raise DestinationRefused(
                    f"{self.name}: conditions on writes are ignored there: of two deliveries at once the older may win"
                )

        try:
            with self._opened() as bucket:
                tried("list objects", lambda: list(islice(bucket.listing(""), 1)))
                written = tried("write an object", lambda: bucket.put(key, b"mogul"))
                if written:
                    tried("read an object", lambda: bucket.get(key))
                    tried("write an object only where there is none", conditional)
                tried("write an object in parts", lambda: bucket.in_parts(key))
                if written:
                    tried("delete an object", lambda: bucket.delete(key))
        except MogulError as error:
            found.append(Permission("reach it", error.message, error.remedy))
        return found

    def forget(self) -> list[Leftover]:
        """The objects of each dataset, and the log."""
        with self._opened() as bucket, self._telling(bucket) as step:
            step.doing = "list objects"
            folders = [folder for folder in bucket.folders() if folder.startswith(LOG) or self._is_ours(bucket, folder)]
            found = []
            for folder in sorted(folders, key=lambda folder: (folder.startswith(LOG), folder)):
                what = "the log of deliveries" if folder.startswith(LOG) else "the objects of"
                found.append(Leftover(f"{what} {bucket.root}{folder}", bucket.removal(f"{folder}*")))
                glob = Template(self.template).glob(destination=self.name, dataset=folder[:-1])
                if not (folder.startswith(LOG) or glob.startswith(folder)):
                    found.append(Leftover(f"the data files {bucket.root}{glob}", bucket.removal(glob)))
            return found

    def remains(self, datasets: Sequence[str]) -> list[Leftover]:
        if not datasets:
            return []
        found, folders = super().remains(datasets), "{" + ",".join(map(self.chooses.name, datasets)) + "}"
        with self._opened() as bucket:
            if self.keep == "all":
                remove = "after that, delete those that its manifest.json does not name, and manifests/"
                return [*found, Leftover(f"the files of every earlier delivery: {bucket.root}{folders}", remove)]
            grace = timedelta(seconds=self.grace_seconds)
            remove = f"mogul sync {self.name}  once more, later than {grace} after that"
            return [*found, Leftover(f"the files of the delivery before: {bucket.root}{folders}", remove)]

    def last_delivery(self, dataset: str) -> datetime | None:
        held = self.manifest(self.chooses.name(dataset))
        return held.delivered_at if held else None

    def manifest(self, dataset: str) -> Manifest | None:
        """What lies there, or ``None`` where nothing was delivered yet.

        Raises:
            DestinationRefused: for a manifest that no delivery wrote.
        """
        with self._opened() as bucket, self._telling(bucket) as step:
            step.doing = "read the manifest"
            return self._held(bucket, dataset)[0]

    def _is_ours(self, bucket: Bucket, folder: str) -> bool:
        try:
            return self._own(bucket, folder[:-1])[0] is not None
        except DestinationRefused:
            return False

    def _own(self, bucket: Bucket, dataset: str) -> tuple[Manifest | None, str | None]:
        """The manifest and its version, unless another destination delivers there: each would replace the other's."""
        held, version = self._held(bucket, dataset)
        if held is None or held.belongs_to(self.name):
            return held, version
        raise DestinationRefused(
            f"{self.name}: {bucket.root}{_manifest(dataset)} belongs to the destination '{held.destination}'",
            remedy=f"deliver to another place; if '{held.destination}' was renamed, "
            f'write "destination": "{self.name}" into that manifest',
        )

    def _held(self, bucket: Bucket, dataset: str) -> tuple[Manifest | None, str | None]:
        found = bucket.get(_manifest(dataset))
        if found is None:
            return None, None
        content, version = found
        try:
            return msgspec.json.decode(content, type=Manifest), version
        except msgspec.DecodeError as error:
            raise DestinationRefused(
                f"{self.name}: {bucket.root}{_manifest(dataset)} is not a manifest of ours: {error}",
                remedy="move the dataset's folder away",
            ) from error

    def _replaced(
        self, bucket: Bucket, table: Table, delivery: str, started_at: datetime, step: _Step
    ) -> tuple[Manifest | None, bool]:
        """The new manifest, written, and whether there was none, or one of other columns.

        ``None`` where a newer generation lies there.
        """
        anew = True
        for _ in range(_TRIES):
            step.doing = "read the manifest"
            held, version = self._own(bucket, table.dataset)
            if held and held.delivery_id == delivery:
                return held, anew  # it was written, and the answer got lost on its way to the vendor's client
            if held and held.supersedes(table):
                return None, False
            anew = held is None or not held.has_columns_of(table)
            columns = self._columns(bucket, held, table)
            if held and not step.there and self._overdue(held):
                self._swept(bucket, held)  # first: there may be no room for both
            step.doing = "write the data files"
            files = self._files(bucket, table, held, started_at, step)
            manifest = after(
                held,
                table,
                files,
                columns=columns,
                destination=self.name,
                written_as=self.format,
                delivery_id=delivery,
                at=datetime.now(UTC),
            )
            if held and self.keep == "all":
                step.doing = "keep the manifest of the last delivery"
                name = f"{held.delivered_at:%Y%m%dT%H%M%S.%fZ}-{held.delivery_id}.json"
                bucket.put(f"{table.dataset}/manifests/{name}", _encoded(held))
            step.doing = "write the manifest"
            if self._published(bucket, self._aged(manifest), version, step):
                return manifest, anew
        raise DestinationUnavailable(
            f"{self.name}: other deliveries of {table.dataset} were faster {_TRIES} times; what they delivered stands",
            remedy="it is tried again",
        )

    def _published(self, bucket: Bucket, manifest: Manifest, version: str | None, step: _Step) -> bool:
        """Whether the manifest counts now. Where the answer got lost the place itself is asked."""
        try:
            return bucket.swap(_manifest(manifest.dataset), _encoded(manifest), version)
        except Exception as error:
            problem = bucket.problem(error)
            if problem is None or not problem.passing:
                raise
            stood, step.stands = step.stands, "the old or the new stands, whole"
            held, _ = self._held(bucket, manifest.dataset)
            if held and held.delivery_id == manifest.delivery_id:
                return True
            step.stands = stood
            raise

    def _aged(self, manifest: Manifest) -> Manifest:
        """Without those of the retired files that the last sweep has removed."""
        until = manifest.delivered_at - timedelta(seconds=self.grace_seconds) - _ABANDONED
        return msgspec.structs.replace(manifest, retired=tuple(one for one in manifest.retired if one.at > until))

    def _columns(self, bucket: Bucket, held: Manifest | None, table: Table) -> tuple[ManifestColumn, ...]:
        if held and held.format != self.format and len(held.replaced_by(table)) < len(held.files):
            raise DestinationRefused(
                f"{self.name}: {table.dataset} lies there as {held.format}; only a part of it would be {self.format}",
                remedy="deliver the whole dataset: mogul backfill",
            )
        remove = bucket.removal(f"{table.dataset}/*")
        return columns_after(held, table, at=self.name, remove=remove)

    def _files(
        self, bucket: Bucket, table: Table, held: Manifest | None, started_at: datetime, step: _Step
    ) -> tuple[ManifestFile, ...]:
        """The table's files as they lie there, sent where neither the manifest nor this delivery has them."""

        def present(source: DataFile) -> tuple[ManifestFile, ...]:
            if source in step.there:
                return step.there[source]
            found = held.made_of(source, self._layout.ext) if held else ()
            whole = bool(found) and all(bucket.size(file.file) == file.bytes for file in found)
            step.there[source] = found if whole else self._sent(bucket, table, source, started_at, step)
            return step.there[source]

        return tuple(file for files in _each(bucket.workers, present, table.files) for file in files)

    def _sent(
        self, bucket: Bucket, table: Table, source: DataFile, started_at: datetime, step: _Step
    ) -> tuple[ManifestFile, ...]:
        files = []
        with tempfile.TemporaryDirectory(prefix="mogul-") as scratch:
            for number, part in enumerate(formats.parts(source, table.schema, self._layout, Path(scratch))):
                key = self._key(table, source, started_at, f"{number:04}-{token_hex(6)}")
                step.written.append(key)
                bucket.upload(key, part.path, part.sha256)
                files.append(
                    ManifestFile(
                        file=key,
                        rows=part.rows,
                        bytes=part.bytes,
                        sha256=part.sha256,
                        source=source.sha256,
                        generation=source.generation,
                        month=str(source.month) if source.month else None,
                    )
                )
        return tuple(files)

    @property
    def _layout(self) -> Layout:
        return Layout(self.format, self.compression, int(self.file_mb * 1_000_000))

    def _key(self, table: Table, file: DataFile, at: datetime, part: str) -> str:
        """The name of a data file; no two have the same ``part``, so that none is ever overwritten."""
        return Template(self.template).render(
            destination=self.name,
            dataset=table.dataset,
            date=f"{at:%Y-%m-%d}",
            time=f"{at:%H%M%S}",
            partition=str(file.month) if file.month else "all",
            generation=file.generation,
            part=part,
            ext=self._layout.ext,
        )

    def _logged(self, bucket: Bucket, entry: Entry) -> None:
        folder = f"{LOG}/{entry.dataset}/"
        bucket.put(f"{folder}{entry.finished_at:%Y%m%dT%H%M%S}-{entry.delivery_id}.json", _encoded(entry))
        oldest = f"{folder}{entry.finished_at - KEPT:%Y%m%dT%H%M%S}"
        for listed in bucket.listing(folder):
            if listed.key >= oldest:
                break
            bucket.delete(listed.key)

    def _undone(self, bucket: Bucket, dataset: str, written: Iterable[str]) -> None:
        """Give the room back that a failed delivery took: the next one may need it.

        The first error is what is told; what cannot be removed now goes with a later sweep.
        """
        with suppress(Exception):
            held = self._held(bucket, dataset)[0] if written else None
            for key in set(written) - {file.file for file in (held.files if held else ())}:
                bucket.delete(key)

    def _overdue(self, held: Manifest) -> bool:
        before = datetime.now(UTC) - timedelta(seconds=self.grace_seconds)
        return any(one.at <= before for one in held.retired)

    def _swept(self, bucket: Bucket, manifest: Manifest) -> str | None:
        """Remove retired files whose time is over, and what failed deliveries left; why not, where that fails.

        The delivery is done: leaving something behind is no reason to fail it.
        """
        if self.keep == "all":
            return None
        names = {"destination": self.name, "dataset": manifest.dataset}
        ours, folder = Template(self.template).pattern(**names), Template(self.template).folder(**names)
        named, now = {file.file for file in manifest.files}, datetime.now(UTC)
        until = {one.file: one.at + timedelta(seconds=self.grace_seconds) for one in manifest.retired}
        try:
            for listed in bucket.listing(folder):
                stale = until.get(listed.key, listed.modified + _ABANDONED) <= now
                if stale and listed.key not in named and ours.fullmatch(listed.key.removesuffix(".part")):
                    bucket.delete(listed.key)
            bucket.abandoned(folder, ours, now - _ABANDONED)
        except Exception as error:
            problem = bucket.problem(error)
            if problem is None:
                raise
            return f"{problem.said} → {problem.remedy}"
        return None

    def _compared(
        self, bucket: Bucket, table: Table, held: Manifest, gone: Iterable[ManifestFile]
    ) -> tuple[int, int, int]:
        wanted = types(table.schema)
        with (
            tempfile.TemporaryDirectory(prefix="mogul-") as scratch,
            connect(temp_directory=scratch) as connection,
        ):

            def fetched(file: ManifestFile) -> str:
                path = Path(scratch) / file.file.replace("/", "-")
                bucket.download(file.file, path)
                return str(path)

            paths = _each(bucket.workers, fetched, gone)
            theirs = relation(held.format, paths, kinds({column.name: column.type for column in held.columns}))
            return differences(connection, parquet(table.paths, wanted), theirs, wanted=wanted, key=table.key)

    @contextmanager
    def _telling(self, bucket: Bucket) -> Iterator[_Step]:
        """Tells the vendor's errors in one line, with what was tried and what stands.

        Raises:
            DestinationUnavailable: where it may pass.
            DestinationRefused: where somebody has to act.
        """
        step = _Step()
        try:
            yield step
        except MogulError:
            raise
        except Exception as error:
            problem = bucket.problem(error)
            if problem is None:
                raise
            kind = DestinationUnavailable if problem.passing else DestinationRefused
            what = f"{self.name}: cannot {step.doing} at {bucket.root}: {problem.said}"
            raise kind("; ".join(filter(None, (what, step.stands))), remedy=problem.remedy) from None


class ObjectStore(Objects):
    """Objects of a vendor's store, reached through its ``dagster-*`` resource."""

    prefix: str = Field(default="", description="Everything lies below it, such as chartmogul/production.")
    connection: dg.ResourceDependency[dg.ConfigurableResource[Any] | None] = None  # type: ignore[assignment]

    @contextmanager
    def holding(self, doing: str) -> Iterator[Bucket]:
        """The bucket, for what is no dataset; ``doing`` is what its errors say that it was for."""
        with self._opened() as bucket, self._telling(bucket) as step:
            step.doing, step.stands = doing, ""
            yield bucket

    @property
    def _prefix(self) -> str:
        """What all keys begin with: nothing, or the prefix with a ``/`` behind it."""
        return self.prefix.strip("/") + "/" if self.prefix.strip("/") else ""

    def _reach(self, url: str) -> None:
        """See that somebody listens: the vendors' clients try for minutes. Behind a proxy only they can know.

        Raises:
            DestinationUnreachable: where nobody does.
        """
        parts = urlsplit(url)
        if parts.scheme in getproxies():
            return
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((str(parts.hostname), port), CONNECTING).close()
        except OSError as error:
            raise DestinationUnreachable(
                f"{self.name}: {parts.hostname} is out of reach: {error.strerror or error}; what lay there stands",
                remedy="it is tried again; look at the network and at the name",
            ) from None


def _manifest(dataset: str) -> str:
    return f"{dataset}/{NAME}"


def _encoded(what: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(what), indent=2) + b"\n"


def _each(workers: int, work: Callable[[_Item], _Done], items: Iterable[_Item]) -> list[_Done]:
    """``work`` on every item, several at a time; what has not begun when one fails never does."""
    if workers == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, items))
