"""Service accounts' keys of Google's, as they stand in variables and files."""

from __future__ import annotations

import base64
import json
from typing import Any

from mogul_assets.errors import ConfigurationError

REMEDY = "give the JSON that  gcloud iam service-accounts keys create  wrote; leave it out for other log-ins"


def account(text: str, *, of: str) -> Any:
    """What a service account logs in with (``google.oauth2.service_account.Credentials``, without scopes).

    Args:
        text: its key: the JSON that Google wrote, or that in base64.
        of: whose it is and where it stands, for people.

    Raises:
        ConfigurationError: it is none. Nothing of it is shown.
    """
    from google.oauth2 import service_account  # noqa: PLC0415 - only where it is needed

    try:
        key = json.loads(text if text.lstrip()[:1] in ("{", "[") else base64.b64decode(text, validate=True))
        return service_account.Credentials.from_service_account_info(key)  # type: ignore[no-untyped-call]
    except (ValueError, AttributeError):  # of what is no object, Google's library asks for its keys
        raise ConfigurationError(f"{of} holds no service account's key", remedy=REMEDY) from None
