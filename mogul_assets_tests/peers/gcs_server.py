"""Runs in the GCS peer's own environment: its emulator, which would overwrite whatever a condition protects."""

from __future__ import annotations

import sys
from http import HTTPStatus

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
    for method in methods.keys() - {"GET"}:
        if methods[method] is not server.objects.batch:
            methods[method] = _guarded(methods[method])

if __name__ == "__main__":
    sys.exit(command.main())
