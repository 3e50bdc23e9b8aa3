"""Objects in buckets of Google (`gs://`), where fsspec's extra for them is installed; those of S3 have code of their
own (touchstone_runtime.s3_files)."""

from fsspec import get_filesystem_class
from fsspec.spec import AbstractFileSystem
from touchstone_contracts.problems import Invalid


def connect_google() -> AbstractFileSystem:
    """With the credentials that the machine has. Raises Invalid."""
    try:
        return get_filesystem_class("gs")(skip_instance_cache=True)
    except ImportError:
        detail = "gs:// locations need gcsfs on the retrieval workers: install fsspec[gcs] there"
        raise Invalid(detail, code="scheme_not_installed") from None
