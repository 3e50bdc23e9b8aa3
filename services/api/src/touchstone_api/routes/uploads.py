"""/v1/uploads: archives that are kept for upstreams, targets and data sets, streamed to the object store."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from touchstone_contracts.access import Limits
from touchstone_contracts.problems import Invalid, NotFound, Unfair
from touchstone_contracts.uploads import Upload, UploadPage
from touchstone_runtime.uploads import UploadWriter
from touchstone_store.catalogue import names_with
from touchstone_store.projects import limits_of
from touchstone_store.stored_bytes import bytes_of_project

from touchstone_api.access.authorise import PrincipalHere
from touchstone_api.bootstrap import Services
from touchstone_api.cursors import PositionHere
from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import documented
from touchstone_api.quota import QuotaExceeded
from touchstone_api.routes.catalogue import LISTED, Limit
from touchstone_api.security.gate import ARCHIVES

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in sorted(ARCHIVES)},
    }
}


class UploadTooLarge(Invalid):
    code = "upload_too_large"
    status = 413
    title = "Content Too Large"


@router.post("", status_code=201, responses=documented(409, 413, 415, 422, 503), openapi_extra=BODY)
async def upload_archive(
    request: Request, response: Response, principal: PrincipalHere, services: ServicesHere
) -> Upload:
    """The body is a zip or tar archive of a folder; name what it holds as `upload://{id}` instead of another location.
    An archive is looked at by a worker, once something is to be registered from it."""
    room = await run_in_threadpool(_room, services, principal.project)
    writer = services.artifacts.uploads.begin(principal.project)
    try:
        _require_room(int(request.headers.get("content-length", "0")[:20]), room)
        async for chunk in request.stream():
            _require_room(writer.size + len(chunk), room)
            if writer.add(chunk):
                await run_in_threadpool(writer.write_parts)
        upload = await run_in_threadpool(_finish, writer)
    except ClientDisconnect:
        await run_in_threadpool(services.artifacts.uploads.remove, writer.id)
        raise Invalid("the archive did not arrive to its end", code="upload_broken_off") from None
    except BaseException:
        await run_in_threadpool(services.artifacts.uploads.remove, writer.id)
        raise
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return upload


def _finish(writer: UploadWriter) -> Upload:
    if writer.size == 0:
        raise Invalid("the body is empty: send the bytes of a zip or tar archive", code="empty_upload")
    return writer.finish(datetime.now(UTC))


class _Room:
    """How many bytes may come, and what says so."""

    def __init__(self, most: int, refusal: Invalid) -> None:
        self.most, self.refusal = most, refusal


def _room(services: Services, project: str) -> _Room:
    settings = services.settings
    with services.store.read() as session:
        limits, stored = limits_of(session, project), bytes_of_project(session, project)
    held = sum(upload.size for upload in services.artifacts.uploads.of_project(project))
    one = UploadTooLarge(
        f"an upload may have {settings.max_upload_bytes:,} bytes (TOUCHSTONE_MAX_UPLOAD_BYTES); put larger data into a "
        "bucket or on a web server and name its location"
    )
    remedy = "remove some (DELETE /v1/uploads/{id}) or ask the operator for more"
    every = QuotaExceeded(
        f"uploads of this project hold {held:,} bytes and may hold {settings.upload_quota_bytes:,} "
        f"(TOUCHSTONE_UPLOAD_QUOTA_BYTES): {remedy}"
    )
    rooms = [_Room(settings.max_upload_bytes, one), _Room(settings.upload_quota_bytes - held, every)]
    rooms += _of_project(limits, held + stored, remedy)
    return min(rooms, key=lambda room: room.most)


def _of_project(limits: Limits, held: int, remedy: str) -> list[_Room]:
    if limits.bytes_stored is None:
        return []
    detail = f"results and uploads of this project hold {held:,} bytes and may hold {limits.bytes_stored:,}: {remedy}"
    return [_Room(limits.bytes_stored - held, QuotaExceeded(detail))]


def _require_room(size: int, room: _Room) -> None:
    if size > room.most:
        raise room.refusal


@router.get("", responses=LISTED)
def get_uploads(
    principal: PrincipalHere, services: ServicesHere, position: PositionHere, limit: Limit = 50
) -> UploadPage:
    """Of the project, by id."""
    every = services.artifacts.uploads.of_project(principal.project)
    found = [upload for upload in every if position.after is None or upload.id > position.after][: limit + 1]
    page, following = position.cut(found, limit, lambda each: each.id)
    return UploadPage(items=tuple(page), next_cursor=following)


@router.get("/{upload}", responses=documented(404, 503))
def get_upload(upload: str, principal: PrincipalHere, services: ServicesHere) -> Upload:
    return _own(services, principal.project, upload)


@router.delete("/{upload}", status_code=204, responses=documented(404, 409, 503))
def delete_upload(upload: str, principal: PrincipalHere, services: ServicesHere) -> None:
    """Refused (409) while something that is registered lies in it: its ingest may have to read it again."""
    _own(services, principal.project, upload)
    with services.store.read() as session:
        used = names_with(session, f"upload://{upload}", principal.project)
    if used:
        raise Unfair(
            f"{', '.join(used[:10])} lies in this upload and could not be ingested again", code="upload_in_use"
        )
    services.artifacts.uploads.remove(upload)


def _own(services: Services, project: str, upload: str) -> Upload:
    """Raises NotFound, for another project's too."""
    if upload.partition(".")[0] == project:
        found = next((each for each in services.artifacts.uploads.of_project(project) if each.id == upload), None)
        if found is not None:
            return found
    raise NotFound(f"no upload {upload!r}; GET /v1/uploads lists those that there are")
