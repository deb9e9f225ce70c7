"""Redshift's SQL as PostgreSQL takes it: what is spelled differently, what does nothing there, what Redshift refuses.

Imports nothing but the standard library: the front runs in the peer's own environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LITERAL = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_HIDDEN = re.compile("\ue000(\\d+)\ue001")

_NAME = "(?:[\\w$]+|\ue000\\d+\ue001)"
_PATH = rf"{_NAME}(?:\.{_NAME})*"
_TYPES = [
    (r"\b(?:N?VARCHAR|CHARACTER\s+VARYING)\s*\(\s*MAX\s*\)", "varchar(65535)"),
    (r"\b(?:NVARCHAR|VARCHAR|CHARACTER\s+VARYING)\b(?!\s*\()", "varchar(256)"),
    (r"\bTEXT\b", "varchar(256)"),
]
_NO_EFFECT = [  # where rows lie is nothing to PostgreSQL, and keys are only said on Redshift, never kept
    r"\bDISTSTYLE\s+(?:AUTO|EVEN|ALL|KEY)\b",
    r"\b(?:COMPOUND\s+|INTERLEAVED\s+)?SORTKEY\s*(?:AUTO\b|\([^)]*\))",
    r"\bDISTKEY\s*\([^)]*\)",
    r"\b(?:DISTKEY|SORTKEY)\b",
    r"\bENCODE\s+\w+",
    r"\bBACKUP\s+(?:YES|NO)\b",
    r",?\s*(?:CONSTRAINT\s+\S+\s+)?(?:PRIMARY\s+KEY|UNIQUE)\s*\([^)]*\)",
    r"\b(?:PRIMARY\s+KEY|UNIQUE)\b",
]
_REFUSED = [
    (r"\bON\s+CONFLICT\b", "42601", 'syntax error at or near "CONFLICT"'),
    (r"\bRETURNING\b", "42601", 'syntax error at or near "RETURNING"'),
    (r"^CREATE\s+(?:UNIQUE\s+)?INDEX\b", "0A000", 'SQL command "CREATE INDEX" not supported on Redshift tables.'),
    (r"^COPY\b.*\bFROM\s+STDIN\b", "0A000", "COPY FROM STDIN is not supported"),
    (r"\b(?:JSONB?|SERIAL|BIGSERIAL|UUID)\b", "42704", "unsupported type"),
    (r"\bFILTER\s*\(", "42601", 'syntax error at or near "FILTER"'),
    (r"^ALTER\s+TABLE\b.*\bADD\b.*\bADD\b", "42601", 'syntax error at or near ","'),
    (r"\bADD\s+(?:COLUMN\s+)?IF\s+NOT\s+EXISTS\b", "42601", 'syntax error at or near "IF"'),
    (r"^ALTER\s+TABLE\b.*\bTYPE\s+(?!varchar\b|character\s+varying\b)", "0A000", "target data type is not supported"),
]
_NOT_IN_A_TRANSACTION = [
    (r"^VACUUM\b", "VACUUM cannot run inside a transaction block"),
    (r"^ALTER\s+TABLE\b.*\bAPPEND\s+FROM\b", "ALTER TABLE APPEND cannot run inside a transaction block"),
    (
        r"^ALTER\s+TABLE\b.*\bALTER\s+COLUMN\b.*\bTYPE\b",
        "ALTER TABLE ALTER COLUMN cannot run inside a transaction block",
    ),
]
_NOTHING = "DO 'BEGIN END'"


class RefusedError(Exception):
    """What Redshift says of a statement that it does not take."""

    def __init__(self, code: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.detail = code, message, detail


@dataclass(frozen=True)
class Copy:
    """A ``COPY`` from S3. ``target`` is the table with its columns, as SQL; ``keys`` access key id, secret, token."""

    target: str
    url: str
    manifest: bool
    role: str | None
    keys: tuple[str, str, str | None] | None


def statements(sql: str) -> list[str]:
    """The statements of a query, without comments."""
    bare, hidden = _masked(sql)
    return [_shown(part.strip(), hidden) for part in bare.split(";") if part.strip()]


def translated(statement: str, *, in_transaction: bool) -> str:
    """The statement as PostgreSQL takes it.

    Raises:
        RefusedError: where Redshift would not take it.
    """
    bare, hidden = _masked(statement)
    for pattern, code, message in _REFUSED:
        if _found(pattern, bare):
            raise RefusedError(code, message)
    for pattern, message in _NOT_IN_A_TRANSACTION:
        if in_transaction and _found(pattern, bare):
            raise RefusedError("25001", message)
    if _found(r"^VACUUM\b|^ALTER\s+TABLE\b.*\bALTER\s+(?:COMPOUND\s+)?(?:SORTKEY|DISTKEY|DISTSTYLE|ENCODE)\b", bare):
        return _NOTHING
    if _found(r"^TRUNCATE\b", bare) and in_transaction:
        return f"COMMIT; {statement}"
    if _found(r"^CREATE\s+(?:LOCAL\s+)?(?:TEMP(?:ORARY)?\s+)?TABLE\b|^ALTER\s+TABLE\b", bare):
        for pattern, as_postgres in [*_TYPES, *((one, "") for one in _NO_EFFECT)]:
            bare = re.sub(pattern, as_postgres, bare, flags=re.IGNORECASE | re.DOTALL)
    return _shown(re.sub(r"(?i)\bDATEDIFF\s*\(\s*(\w+)\s*,", r"datediff_\1(", bare), hidden)


def copy(statement: str) -> Copy | None:
    """What a ``COPY`` from S3 asks for; ``None`` for another statement.

    Raises:
        RefusedError: for what Redshift, or this peer, cannot do with Parquet.
    """
    bare, hidden = _masked(statement)
    found = re.match(rf"(?is)COPY\s+({_PATH}\s*(?:\([^)]*\))?)\s+FROM\s+(\ue000\d+\ue001)\s*(.*)$", bare)
    if found is None:
        return None
    target, source, rest = found.groups()

    def text(words: str) -> str | None:
        matched = re.search(rf"(?is)\b{words}\s+(?:AS\s+)?(\ue000\d+\ue001)", rest)
        return literal(_shown(matched[1], hidden)) if matched else None

    options = re.sub("\ue000\\d+\ue001", "", rest).upper().split()
    if "PARQUET" not in options:
        raise RefusedError("0A000", "this peer copies Parquet only")
    if "REGION" in options:
        raise RefusedError("0A000", "REGION argument is not supported for PARQUET based COPY")
    key, secret = text("ACCESS_KEY_ID"), text("SECRET_ACCESS_KEY")
    role = text("IAM_ROLE") or ("default" if "DEFAULT" in options else None)
    if role is None and (key is None or secret is None):
        raise RefusedError("XX000", "COPY: an IAM role or credentials are needed")
    return Copy(
        target=_shown(target, hidden),
        url=literal(_shown(source, hidden)),
        manifest="MANIFEST" in options,
        role=role,
        keys=(key, secret, text("SESSION_TOKEN")) if key and secret else None,
    )


def literal(text: str) -> str:
    """What a literal stands for: a backslash escapes, as on Redshift."""
    return re.sub(r"\\(.)|''", lambda match: match[1] or "'", text[1:-1], flags=re.DOTALL)


def _found(pattern: str, bare: str) -> bool:
    return re.search(pattern, bare, re.IGNORECASE | re.DOTALL) is not None


def _masked(sql: str) -> tuple[str, list[str]]:
    """The SQL with its literals and quoted names out of sight, and those; comments are gone."""
    hidden: list[str] = []

    def mask(match: re.Match[str]) -> str:
        if match[0].startswith(("--", "/*")):
            return " "
        hidden.append(match[0])
        return f"\ue000{len(hidden) - 1}\ue001"

    return _LITERAL.sub(mask, sql).strip(), hidden


def _shown(bare: str, hidden: list[str]) -> str:
    return _HIDDEN.sub(lambda match: hidden[int(match[1])], bare)
