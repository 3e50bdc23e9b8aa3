"""Whatever a file system or S3 can name is a location, but for what could lead out of the library."""

import pytest
from pydantic import TypeAdapter, ValidationError
from touchstone_contracts.catalogue import DataLocation, ModelLocation
from touchstone_contracts.sources import AllowedSources, SourceNotAllowed
from touchstone_runtime.s3_connections import connect_s3
from touchstone_runtime.settings import RuntimeSettings

DATA, MODEL = TypeAdapter[str](DataLocation), TypeAdapter[str](ModelLocation)


@pytest.mark.parametrize(
    "location",
    [
        "library:my photos/train",
        "library:été/a = 1 #2 (copy)/00000.tar",
        "library:日本/語.parquet",
        "library:a\\b",
        "library:100% ?&*[x]",
        "s3://shop/my photos/a=b #1 é.tar",
        "s3://shop/日本/00000.tar",
        "s3://shop/a b/",
    ],
)
def test_any_name_is_a_location(location: str) -> None:
    assert DATA.validate_python(location) == location


@pytest.mark.parametrize(
    "location",
    [
        "library:", "library:/etc/passwd", "library:../x", "library:a/../b", "library:a/./b", "library:.hidden",
        "library:a//b", "library:a/", "library:a\nb", "library:a\0b", "s3://shop/", "s3://shop/../x", "s3://shop/a\nb",
        "s3://s/x", "s3://key:secret@bucket/x.tar", "http://me:secret@x/y", "http://x/y?key=1", "http://x",
        "ftp://x/y", "/etc/passwd", "file:///x", "",
    ],
)  # fmt: skip
def test_what_could_lead_elsewhere_is_none(location: str) -> None:
    with pytest.raises(ValidationError):
        DATA.validate_python(location)


def test_models_may_lie_in_folders_with_blanks_and_hubs_have_none() -> None:
    assert MODEL.validate_python("library:my models/clip 2")
    assert MODEL.validate_python("hub:owner/name@0123")
    for location in ("hub:owner/my name", "hub:own er/x", "hub:../x", "s3://shop/model"):
        with pytest.raises(ValidationError):
            MODEL.validate_python(location)


def test_lists_of_allowed_sources_take_the_same_names() -> None:
    allowed = AllowedSources(library=("my photos",), buckets=("shop/my photos",))
    allowed.require("library:my photos/train 1")
    allowed.require("s3://shop/my photos/a=1.tar")
    for location in ("library:my photos of staff/x", "s3://shop/my photos of staff/x", "library:my/x"):
        with pytest.raises(SourceNotAllowed):
            allowed.require(location)


@pytest.mark.parametrize(
    ("settings", "server", "is_tls"),
    [
        ({"s3_endpoint": "127.0.0.1:9000"}, "127.0.0.1:9000", False),
        ({"s3_endpoint": "http://127.0.0.1:9000"}, "127.0.0.1:9000", False),
        ({"s3_endpoint": "https://s3.example.org"}, "s3.example.org", True),
        ({"s3_endpoint": "https://s3.example.org/"}, "s3.example.org", True),
        ({"s3_endpoint": "s3.example.org", "s3_secure": True}, "s3.example.org", True),
        ({"s3_endpoint": "[::1]:9000"}, "[::1]:9000", False),
    ],
)
def test_an_endpoint_may_be_written_as_a_url(settings: dict[str, object], server: str, is_tls: bool) -> None:
    client = connect_s3(RuntimeSettings.model_validate(settings | {"s3_secret_key": "x" * 8}))
    assert (client._base_url.host, client._base_url.is_https) == (server, is_tls)


def test_a_region_is_signed_for() -> None:
    client = connect_s3(RuntimeSettings.model_validate({"s3_region": "eu-central-1", "s3_secret_key": "x" * 8}))
    url = client.presigned_get_object("shop", "x")
    assert "%2Feu-central-1%2Fs3%2F" in url


@pytest.mark.parametrize(
    "endpoint", ["https://key:secret@s3.example.org", "ftp://x", "https://s3.example.org/bucket", "a b", ""]
)
def test_an_endpoint_that_cannot_be_one_stops_the_start(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="s3_endpoint"):
        RuntimeSettings.model_validate({"s3_endpoint": endpoint})
