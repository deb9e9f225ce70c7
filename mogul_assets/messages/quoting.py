"""Whether what a message says names a customer: also inside of a mail's parts and the files that come with it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from email import message_from_bytes

from mogul_assets.store.person import Person


def names(kind: str, payload: bytes, person: Person) -> bool:
    texts: Iterable[bytes] = _of_mail(payload) if kind == "mail" else (payload,)
    return any(person.quoted_in(text) for text in texts)


def _of_mail(payload: bytes) -> Iterator[bytes]:
    """All texts of a mail, decoded; of spreadsheets line by line, whatever their size."""
    for part in message_from_bytes(payload).walk():
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes) or part.get_content_maintype() == "image":
            continue
        if part.get_content_subtype() != "zip":
            yield content
            continue
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for file in archive.namelist():
                with archive.open(file) as lines:
                    yield from lines
