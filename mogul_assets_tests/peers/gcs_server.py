"""Runs in the GCS peer's own environment: its emulator, with the conditions and the log-in that it lacks.

A service account is let in by the signature of its key, and may do what its name does not deny: that of
``without-delete@…`` cannot delete. Who says nothing is let in too: the tests' own readers do.
"""

from __future__ import annotations

import os
import sys
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs

import google.auth.jwt
from gcp_storage_emulator import __main__ as command
from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound

_UNMET = "At least one of the pre-conditions you specified did not hold."
_ERROR = {"message": _UNMET, "domain": "global", "reason": "conditionNotMet", "location": "If-Match"}


def _object(request):
    """The object that a request writes or removes: named by the path, the query or the upload's own metadata."""
    if name := request.params.get("dest_object_id") or request.params.get("object_id"):
        return name
    if "name" in request.query:
        return request.query["name"][0]
    data = request.data if isinstance(request.data, dict) else {}
    return data.get("meta", data).get("name")


def _generation(storage, bucket, name):
    try:
        return str(storage.get_file_obj(bucket, name)["generation"])
    except NotFound:
        return "0"


_PUBLIC = Path(os.environ["PEER_PUBLIC_KEY"]).read_bytes()


def _account(token):
    """Who signed the token, if the peer's key did."""
    try:
        return google.auth.jwt.decode(token, certs=_PUBLIC, verify=True)["iss"]
    except ValueError:
        return None


def _token(request, response, storage):
    """https://developers.google.com/identity/protocols/oauth2/service-account#httprest; the token is the assertion."""
    data = request.data
    form = parse_qs(data.decode() if isinstance(data, bytes) else data) if isinstance(data, bytes | str) else data
    assertion = form["assertion"][0]
    if _account(assertion) is None:
        response.status = HTTPStatus.BAD_REQUEST
        return response.json({"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
    return response.json({"access_token": assertion, "expires_in": 3600, "token_type": "Bearer"})


def _denied(request, method):
    """The status with which Google refuses: https://cloud.google.com/storage/docs/json_api/v1/status-codes."""
    _, _, token = request._request_handler.headers.get("Authorization", "").partition(" ")
    if not token:
        return None
    account = _account(token)
    if account is None:
        return HTTPStatus.UNAUTHORIZED
    return HTTPStatus.FORBIDDEN if account.startswith(f"without-{method.lower()}@") else None


def _admitted(method, handler):
    def admitted(request, response, storage, *args, **more):
        if status := _denied(request, method):
            response.status = status
            return response.json({"error": {"code": int(status), "message": status.phrase, "errors": []}})
        return handler(request, response, storage, *args, **more)

    return admitted


def _guarded(handler):
    def guarded(request, response, storage, *args, **more):
        wanted = request.query.get("ifGenerationMatch")
        if wanted and "upload_id" not in request.query:  # of an upload in parts, its beginning is asked
            bucket = request.params.get("dest_bucket_name") or request.params["bucket_name"]
            if _generation(storage, bucket, _object(request)) != wanted[0]:
                response.status = HTTPStatus.PRECONDITION_FAILED
                return response.json({"error": {"code": 412, "message": _UNMET, "errors": [_ERROR]}})
        return handler(request, response, storage, *args, **more)

    return guarded


for _, methods in server.HANDLERS:
    for method, handler in methods.items():
        guarded = handler if method == "GET" or handler is server.objects.batch else _guarded(handler)
        methods[method] = _admitted(method, guarded)
server.HANDLERS = ((r"^/token$", {"POST": _token}), *server.HANDLERS)

if __name__ == "__main__":
    sys.exit(command.main())
