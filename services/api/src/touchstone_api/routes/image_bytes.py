"""/v1/experiments/{experiment}/targets/{target}/images/{image}: held-out images; and how any image is answered."""

from typing import Any

from fastapi import APIRouter, Response
from touchstone_contracts.media_types import media_type
from touchstone_contracts.problems import NotFound

from touchstone_api.problems import documented
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.held_out import find_held_out
from touchstone_api.results.images import read_image
from touchstone_api.results.reader import one_target

router = APIRouter(prefix="/v1/experiments/{experiment}/targets/{target}", tags=["results"])

IMMUTABLE = "private, max-age=31536000, immutable"
IMAGE_POLICY = "default-src 'none'; sandbox"
ENCODED_IMAGE: dict[str, Any] = {
    "description": "The encoded image",
    "content": {"image/png": {}, "image/jpeg": {}, "image/webp": {}},
}


def image_bytes(image: str, data: bytes) -> Response:
    """`image`: the sha256 of `data`."""
    headers = {"Cache-Control": IMMUTABLE, "ETag": f'"{image}"', "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type=media_type(data), headers=headers | {"Content-Security-Policy": IMAGE_POLICY})


@router.get("/images/{image}", response_class=Response, responses={200: ENCODED_IMAGE, **documented(404, 422, 503)})
def get_held_out_image(experiment: str, target: str, image: str, reader: ResultsHere) -> Response:
    """The bytes of an image of the target's test sets or of its validation split, named by their sha256."""
    found = find_held_out(reader, experiment, one_target(reader.planned(experiment).spec.targets, target), image)
    if found is None:
        raise NotFound(f"no test set and no validation split of target {target!r} holds an image {image!r}")
    return image_bytes(image, read_image(reader.finished.artifacts, found.manifest, found.row))
