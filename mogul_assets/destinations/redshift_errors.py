"""What the errors of Redshift, and of S3 before it, mean. No I/O.

Their own texts may quote values and keys: none is passed on but the SQLSTATE or S3's code, and of a missing permission
the object's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mogul_assets.destinations.warehouse import Conflict
from mogul_assets.errors import DestinationRefused, DestinationUnavailable, MogulError

GRANTS = "see  mogul destinations grants {}"
"""The remedy where a permission is missing, of the destination's name."""

_AGAIN = "it is tried again"


@dataclass(frozen=True, slots=True)
class Meaning:
    """``fits`` is how a SQLSTATE begins, or what is found in a text. ``passing`` is worth another try."""

    fits: str
    what: str
    remedy: str = _AGAIN
    passing: bool = False

    def error(self, detail: str, name: str) -> MogulError:
        kind = DestinationUnavailable if self.passing else DestinationRefused
        return kind(f"{self.what} ({detail})" if detail else self.what, remedy=self.remedy.format(name))


STATES = (
    Meaning("28", "the login was refused", "correct user and password"),
    Meaning("3D000", "there is no such database", "correct database"),
    Meaning("42501", "a permission is missing", GRANTS),
    Meaning("2BP01", "a view depends on a column that is rewritten", "drop the view, and make it again afterwards"),
    Meaning("53100", "its disk is full", "free some space there, or resize it"),
    Meaning("53", "it is out of memory or connections", passing=True),
    Meaning("57014", "a statement was cancelled, or took too long", f"{_AGAIN}; else raise step_seconds", passing=True),
    Meaning("57", "it is being restarted, or paused", f"{_AGAIN}; resume a paused cluster", passing=True),
    Meaning("58", "it has a fault of its own", passing=True),
    Meaning("08", "the connection was lost", passing=True),
    Meaning("55", "a table is locked, or in use", passing=True),
    Meaning("25006", "it takes nothing but reads at the moment", passing=True),
    Meaning("42P01", "a table went away meanwhile", passing=True),
    Meaning("42703", "a column went away meanwhile", passing=True),
    Meaning("22", "a value does not fit its column", "compare the table's columns with the dataset's"),
)
"""By SQLSTATE, the first that fits: PostgreSQL's, from which Redshift descends.

https://www.postgresql.org/docs/8.0/errcodes-appendix.html
"""

CONFLICTS = ("40", "42P06", "42P07", "42701", "42710", "23505")
"""Two transactions that cannot both be, or two that made the same thing at once: our tables have no unique constraint,
but the catalogue has, of a table's name and of its row type's (42710)."""

_CONFLICT = re.compile(
    r"\A(ERROR:\s*)?10(18|23)\b|^\s*code:\s*10(18|23)\b|Serializable isolation violation"
    r"|conflict with concurrent transaction",
    re.MULTILINE,
)
"""The number is the whole first line; elsewhere it may be of a query or a process.

https://docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation-serializable-isolation-troubleshooting.html
"""

TEXTS = (
    Meaning("JSON parsing error", "a JSON value is not taken", "correct the value in the account"),
    Meaning("Disk Full", "its disk is full", "free some space there, or resize it"),
    Meaning(
        r"not authorized to assume|IAM role \S+ is not",
        "it may not take on the role that COPY is to read with",
        "associate the role with the cluster or workgroup, and let it trust redshift.amazonaws.com",
    ),
    # https://docs.aws.amazon.com/redshift/latest/dg/s3serviceexception-error.html
    Meaning(r"S3ServiceException.*(AccessDenied|Status 403)", "S3 does not let it read the staged files", GRANTS),
    Meaning(
        "S3ServiceException.*(NoSuchBucket|PermanentRedirect|AuthorizationHeaderMalformed)",
        "it does not find the bucket",
        "name a bucket of Redshift's own region",
    ),
    Meaning(
        "S3ServiceException.*(Status 5|SlowDown)|S3CurlException",
        "it cannot reach S3",
        f"{_AGAIN}; with enhanced VPC routing it needs an endpoint for S3",
        passing=True,
    ),
    Meaning("S3ServiceException|S3 prefix", "S3 did not give it the staged files", GRANTS),
    Meaning("authentication failed", "the login was refused", "correct user and password"),
    Meaning('database "[^"]*" does not exist', "there is no such database", "correct database"),
    # libpq's words for an encrypted connection that breaks off; its SSL errors else are of the handshake.
    Meaning(
        "SSL SYSCALL error|SSL connection has been closed|SSL error: .*(unexpected eof|bad record mac)",
        "the connection was lost",
        passing=True,
    ),
    Meaning(
        "certificate|SSL error|SSL context|invalid response to SSL|does not support SSL|SSL off|no encryption",
        "no encrypted connection to a proven server came about",
        "correct sslmode and certificates",
    ),
    Meaning("translate host name", "the host's name leads nowhere", f"{_AGAIN}; else correct host", passing=True),
    Meaning("pg_hba.conf", "it takes no connection of this user from here", "allow it there"),
)
"""By text where no SQLSTATE tells: at the login there is none, and Redshift's own errors are all XX000."""

_LOST = Meaning(
    "", "it cannot be reached, or the connection was lost", f"{_AGAIN}; else correct host and port", passing=True
)
_FAULT = Meaning("", "it has a fault of its own", passing=True)
_UNKNOWN = Meaning("", "it refused a statement", "look at its query history")

S3_CODES = (
    Meaning("AccessDenied|Forbidden|403|AllAccessDisabled", "S3 refused it", GRANTS),
    Meaning(
        "InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken",
        "S3 refused the keys",
        "correct access_key_id and secret_access_key",
    ),
    Meaning("NoSuchBucket|404", "there is no such bucket", "make it, or correct bucket"),
    Meaning("PermanentRedirect|AuthorizationHeaderMalformed|301", "the bucket has another region", "correct region"),
    Meaning(
        "Credentials|ProfileNotFound",
        "there are no credentials for S3",
        "set access_key_id and secret_access_key, or give the machine a role",
    ),
    Meaning("ParamValidation|InvalidBucketName", "that is no name of a bucket", "correct bucket"),
    Meaning("", "S3 cannot be reached", f"{_AGAIN}; else correct region and s3_endpoint", passing=True),
)
"""By S3's code, or the name of the client's own error."""


def database_error(name: str, state: str, text: str, primary: str) -> MogulError | Conflict:
    """What an error of the database means.

    Args:
        name: the destination's.
        state: its SQLSTATE; nothing where the connection failed.
        text: all that it says.
        primary: its first line.
    """
    own = state.startswith("XX")  # Redshift's, beside PostgreSQL's
    if state.startswith(CONFLICTS) or ((own or not state) and _CONFLICT.search(text)):
        return Conflict()
    if state and not own:
        found = next((known for known in STATES if state.startswith(known.fits)), _UNKNOWN)
        return found.error(f"{state}: {primary}" if state == "42501" else state, name)
    known = (known for known in TEXTS if re.search(known.fits, text, re.DOTALL))
    return next(known, _FAULT if own else _LOST).error(state, name)


def s3_error(name: str, code: str, bucket: str) -> MogulError:
    """What an error of S3 means to the destination of that name, by its code."""
    found = next(known for known in S3_CODES if re.search(known.fits, code))
    return found.error(f"{code}, s3://{bucket}", name)
