"""The one hierarchy of errors: what can get better by waiting, and what cannot.

Every message is one line: what failed, where, and the next step. No message holds a secret or a customer's
data.
"""

from __future__ import annotations


class MogulError(Exception):
    """Anything that this project raises on purpose.

    Args:
        message: what failed and where, one line.
        remedy: the next step for whoever reads it.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{message} → {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy


class TransientError(MogulError):
    """May pass by itself: retried."""


class TerminalError(MogulError):
    """Stays until somebody acts: never retried."""


class ConfigurationError(TerminalError):
    """``mogul.yaml``, or a variable that it names, is not as it must be."""


class AccountUnavailable(TransientError):
    """The account could not be read in the time allowed: limits, faults of the server or of the network."""


class AccountRefused(TerminalError):
    """The account answered no: 401, 403, 404, 422, or something that is not ChartMogul's API."""


class AccountInconsistent(TransientError):
    """A list changed, or skipped, while it was read, more often than it was read again."""


class DataRefused(TerminalError):
    """A blocking check failed: the pointer stays, the new files lie beside it to look at."""


class DeliveryHeld(DataRefused):
    """Much of what was delivered before is gone: what lies at the destination stays until somebody allows the loss."""


class StoreBusy(TransientError):
    """Another process writes to the store."""


class StoreDamaged(TerminalError):
    """A file that the store points to is missing or is not what its checksum says."""


class StoreTooNew(TerminalError):
    """A newer version wrote the store: this one would misread it."""


class StoreUnwritable(TerminalError):
    """The store's place is full or may not be written to."""


class LedgerUnavailable(TransientError):
    """The ledger's database could not be reached, or another process holds it."""


class LedgerUnusable(TerminalError):
    """The ledger's place is full, may not be written to, or was written by a newer version."""


class DestinationUnavailable(TransientError):
    """The destination could not be reached, or something in it is held by somebody else."""


class DestinationUnreachable(DestinationUnavailable):
    """The destination as a whole is not there: whatever else a run has for it need not be tried."""


class MessagesWaiting(DestinationUnavailable):
    """Some messages were not taken. They are written down, each with the time of its next try."""


class DestinationRefused(TerminalError):
    """The destination will not take the delivery as it is."""


class DestinationDisabled(DestinationRefused):
    """Nothing is sent to the destination until somebody resumes it: its receiver took nothing any more."""


def kind_of(error: MogulError) -> type[MogulError]:
    """The class of it that the README explains: of a module's own class, the nearest one of these."""
    return next(kind for kind in type(error).__mro__ if kind.__module__ == __name__)
