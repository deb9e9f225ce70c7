"""Datasets as CSV files that people open in a spreadsheet, in parts that one can hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mogul_assets.catalog.window import Month
from mogul_assets.destinations.formats import Layout, Part, readable, writing
from mogul_assets.messages.periods import Period
from mogul_assets.store.table import Table

ROWS = 500_000
"""Of a file, at most: ChartMogul's own limit."""

_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}".encode()
"""Before the first byte, or else Excel takes UTF-8 for the machine's own code page."""
_RUN = r"^[\pZ\pC]*[=+\-@＝＋－＠]|^[\t\r\n]"
"""What a spreadsheet would run, also behind what cannot be seen: https://owasp.org/www-community/attacks/CSV_Injection"""
_NUMBER = r"^-?[0-9]+(\.[0-9]+)?$"
_CSV = Layout("csv", "none", 0)


def spreadsheets(table: Table, folder: Path, stem: str, *, period: Period | None = None) -> Iterator[Part]:
    """The table's rows as files in ``folder``: ``<stem>.csv``, or ``<stem>-1-of-2.csv`` and so on. RFC 4180, UTF-8.

    Text that a spreadsheet would take for a formula has an apostrophe before it. Rows of a period are those
    whose moment (the table's window column) falls into it; no other month's file is read.
    """
    chosen = table if period is None or table.window_column is None else _of(table, period)
    written = list(_written(chosen, folder / stem, period))
    for number, (path, rows) in enumerate(written, 1):
        name = f"{stem}.csv" if len(written) == 1 else f"{stem}-{number}-of-{len(written)}.csv"
        file = path.rename(folder / name)
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        yield Part(file, rows, file.stat().st_size, digest)


def _of(table: Table, period: Period) -> Table:
    """The table with those of its files only that can hold a row of the period."""
    months = set(Month.of(period.start).until(Month.of(period.end)))
    return replace(table, files=tuple(file for file in table.files if file.month is None or file.month in months))


def _within(batch: pa.RecordBatch, table: Table, period: Period | None) -> pa.RecordBatch:
    if period is None or table.window_column is None:
        return batch
    moments = batch.column(table.window_column)
    start, end = (pa.scalar(moment, moments.type) for moment in (period.start, period.end))
    return batch.filter(pc.and_(pc.greater_equal(moments, start), pc.less(moments, end)))


def _safe(rows: pa.RecordBatch) -> pa.RecordBatch:
    for place, field in enumerate(rows.schema):
        if field.type == pa.string():
            text = rows.column(place)
            run = pc.and_not(pc.match_substring_regex(text, _RUN), pc.match_substring_regex(text, _NUMBER))
            defused = pc.if_else(run, pc.binary_join_element_wise("'", text, ""), text)
            rows = rows.set_column(place, field.name, defused)
    return rows


def _written(table: Table, stem: Path, period: Period | None) -> Iterator[tuple[Path, int]]:
    """Files and their rows; one with its header alone where there are none."""
    pieces = _pieces(_within(batch, table, period) for batch in table.batches())
    following = next(pieces, None)
    for number in count():
        path, rows = stem.with_name(f"{stem.name}.{number}"), 0
        with ExitStack() as stack:
            sink = stack.enter_context(pa.OSFile(str(path), "wb"))
            sink.write(_MARK)
            file = writing(stack, sink, table.schema, _CSV)
            while following is not None and rows < ROWS:
                file.write_batch(_safe(readable(following)))
                rows += following.num_rows
                following = next(pieces, None)
        yield path, rows
        if following is None:
            return


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, with a piece's end wherever a file is full."""
    room = ROWS
    for batch in batches:
        rest = batch
        while rest.num_rows:
            piece, rest = rest.slice(0, room), rest.slice(room)
            yield piece
            room = room - piece.num_rows or ROWS
