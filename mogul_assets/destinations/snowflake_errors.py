"""What Snowflake's errors mean, by its codes. No I/O.

Its own texts are passed on for those codes alone whose texts are known to hold names and no value. Codes from 100000
on are about data, and quote it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mogul_assets.destinations.warehouse import Conflict
from mogul_assets.errors import DestinationRefused, DestinationUnavailable, MogulError

GRANTS = "see  mogul destinations grants snowflake"
"""The remedy where a permission is missing."""

_PREFIX = re.compile(r"(\d{6} \(\w{5}\): )?([0-9a-f-]{36}: )?")
"""Code, state and the query's id before a text."""
_AGAIN = "it is tried again"
_KEY = "see that the user's RSA_PUBLIC_KEY belongs to the private key, and that this machine's clock is right"
_NAME = "correct account; it is written like myorg-myaccount"


@dataclass(frozen=True, slots=True)
class Meaning:
    """``passing`` is worth another try; ``said``, whether Snowflake's own text is passed on."""

    what: str
    remedy: str = _AGAIN
    passing: bool = False
    said: bool = False


CODES: dict[int, Meaning] = {
    # Logging in: https://docs.snowflake.com/en/user-guide/key-pair-auth-troubleshooting, the connector's network.py;
    # https://github.com/snowflakedb/snowflake-connector-net/issues/537 (390201). Of 390186, 390189 and 390422 the texts
    # are in the logs of several who met them: "Role … is not granted to this user", "IP … is not allowed".
    390100: Meaning("user or password is wrong", "correct user and password"),
    390144: Meaning("the key pair is not accepted", _KEY),
    394300: Meaning("the key pair is not accepted", _KEY),
    394301: Meaning("the key pair's token has expired", _KEY),
    394302: Meaning("the key pair's token is not valid yet", _KEY),
    394303: Meaning("the key pair's token is valid for too long", _KEY),
    394304: Meaning("the key pair is not the user's", _KEY),
    394305: Meaning("the key pair's algorithm is not accepted", _KEY),
    394306: Meaning("the key pair's token is not well formed", _KEY),
    390186: Meaning("the role is not granted to the user", "GRANT ROLE … TO USER …, or correct role"),
    390189: Meaning("the role is not granted to the user", "GRANT ROLE … TO USER …, or correct role"),
    390201: Meaning("warehouse, role, database or schema is not there, or not granted", GRANTS),
    390422: Meaning("this machine's address is not allowed in", "add it to the account's network policy", said=True),
    290403: Meaning("there is no such account", _NAME),
    290404: Meaning("there is no such account", _NAME),
    251001: Meaning("no account is named", _NAME),
    251005: Meaning("no user is named", "set user"),
    251006: Meaning("no password is given", "set password, private_key or private_key_file"),
    251008: Meaning("the private key cannot be read", "give it in PEM (PKCS #8), with its passphrase where it has one"),
    250001: Meaning(
        "it cannot be reached", f"{_AGAIN}; else see that account is right and the network open", passing=True
    ),
    250002: Meaning("the connection was lost", passing=True),
    250003: Meaning("the connection was lost", passing=True),
    251011: Meaning("the connection was lost", passing=True),
    251012: Meaning("the connection was lost", passing=True),
    # Statements: https://docs.snowflake.com/en/sql-reference/sql/execute-immediate-from shows 1003, 2003, 3001;
    # others as users met them, on https://github.com: dbt-labs/dbt-snowflake/issues/300 (606),
    # dbt-labs/dbt-core/issues/621 (2043), arnoN7/dbt-incremental-stream/issues/8 (2203),
    # reapit/foundations/issues/10050 (90073, by its text). 3041: "Schema … already exists, but current role has no
    # privileges on it".
    606: Meaning(
        "there is no warehouse to run in", "set warehouse, and grant it: GRANT USAGE ON WAREHOUSE … TO ROLE …"
    ),
    603: Meaning("Snowflake had an error of its own", passing=True),
    604: Meaning("a statement took longer than step_seconds", f"{_AGAIN}; else raise step_seconds", passing=True),
    630: Meaning("a statement took longer than allowed", f"{_AGAIN}; else raise step_seconds", passing=True),
    2003: Meaning("an object is not there, or not granted", GRANTS, said=True),
    2043: Meaning("an object is not there, or not granted", GRANTS, said=True),
    3001: Meaning("a permission is missing", GRANTS, said=True),
    3041: Meaning("a permission is missing", GRANTS, said=True),
    90073: Meaning("the warehouse cannot be resumed", "see its resource monitor's quota", said=True),
    90105: Meaning("there is no database", GRANTS),
    90106: Meaning("there is no schema", GRANTS),
    2203: Meaning("a view or the like has the table's name", "rename it, or name another schema", said=True),
    253003: Meaning(
        "uploading to the stage failed",
        f"{_AGAIN}; see that the network lets the stage's storage be reached",
        passing=True,
    ),
    # Data: https://docs.snowflake.com/en/sql-reference/functions/parse_json, and large objects.
    100069: Meaning("a value is not JSON that it takes", "correct the value in the account"),
    100072: Meaning("a column there must not be null", "look which, and drop its NOT NULL"),
    100078: Meaning("a text is too long for its column", "compare the table's columns with the dataset's"),
    100082: Meaning("a value is too large", "set oversize: null to deliver null in its place"),
}

HTTP = 290_000
"""The connector adds it to an answer's HTTP status, and once more where it gives up trying: 290503 comes as 580503."""
_LATER = Meaning("it is not available just now", passing=True)
CODES |= {added + status: _LATER for added in (HTTP, 2 * HTTP) for status in (408, 429, *range(500, 600))}

CONFLICTS = frozenset({625, 2002})
"""Another transaction has the table (its lock, or one of too many that wait for it), or just made the same object.

https://docs.snowflake.com/en/sql-reference/transactions
"""


def broken(code: int) -> bool:
    """Whether nobody can tell what came of the statement, and of its session: no further one is sent in it."""
    return code == 603 or CODES.get(code) is _LATER


def meaning(code: int, text: str, *, passing: bool) -> MogulError | Conflict:
    """The error for a code and Snowflake's text.

    ``passing`` is whether an unknown code is of a kind that may pass: the client's own, of the network.
    """
    if code in CONFLICTS:
        return Conflict()
    found = CODES.get(code)
    if found is None:
        known = Meaning("something passing went wrong", passing=True)
        found = known if passing else Meaning("it refused", "look for the code in the account's query history")
    said = f", {' '.join(_PREFIX.sub('', text).split())}" if found.said and text else ""
    kind = DestinationUnavailable if found.passing else DestinationRefused
    return kind(f"{found.what} (Snowflake {code:06}{said})", remedy=found.remedy)
