"""The nightly copy: the database first, then the bucket; run again it writes the same names."""

import os
import subprocess
from pathlib import Path

import pytest
from support.manifests import Manifests, container, of_kind, pods

RECORDER = """#!/bin/sh
echo "$*" >> "$RECORD"
case "$*" in *"$FAILING"*) exit 1 ;; esac
"""
"""Stands in for mc, which talks to object stores: writes down its calls, and fails at those with FAILING in them."""
VARIABLES = {
    "TOUCHSTONE_S3_ENDPOINT": "s3.here",
    "TOUCHSTONE_S3_ACCESS_KEY": "our-key",
    "TOUCHSTONE_S3_SECRET_KEY": "our-secret",
    "TOUCHSTONE_S3_BUCKET": "touchstone",
    "BACKUP_S3_URL": "https://s3.there",
    "BACKUP_S3_ACCESS_KEY": "their-key",
    "BACKUP_S3_SECRET_KEY": "their-secret",
    "BACKUP_S3_BUCKET": "backup",
    "BACKUP_DUMP_DAYS": "30",
}


def copy(manifests: Manifests, folder: Path, failing: str = "no call", **more: str) -> tuple[int, list[str]]:
    """Runs the script of the container; its exit code and the calls of mc."""
    program, record = folder / "mc", folder / "record"
    program.write_text(RECORDER)
    program.chmod(0o755)
    record.write_text("")
    script = container(manifests, "copy")["args"]
    environment = {
        **VARIABLES,
        **more,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "RECORD": str(record),
        "FAILING": failing,
    }
    answer = subprocess.run(["/bin/sh", "-euc", *script], env=environment, capture_output=True, timeout=60)
    return answer.returncode, record.read_text().splitlines()


@pytest.fixture
def cluster(rendered_overlays: dict[str, Manifests]) -> Manifests:
    return rendered_overlays["cluster"]


def test_the_database_is_dumped_before_the_bucket_is_copied(cluster: Manifests, tmp_path: Path) -> None:
    """A dump that is newer than the copied objects would name some that are not there."""
    backup = pods(cluster)["backup"]
    assert [each["name"] for each in backup.spec["initContainers"]] == ["dump-database"]
    assert [each["name"] for each in backup.spec["containers"]] == ["copy"]
    code, calls = copy(cluster, tmp_path)
    assert code == 0
    words = [call.split()[0] for call in calls]
    assert words == ["alias", "alias", "cp", "mirror", "rm"]
    assert "mirror ours/touchstone backup/backup/objects" in calls


def test_a_second_run_of_a_day_writes_the_same_names(cluster: Manifests, tmp_path: Path) -> None:
    assert copy(cluster, tmp_path) == copy(cluster, tmp_path)


def test_the_store_is_asked_over_tls_where_the_settings_say_so(cluster: Manifests, tmp_path: Path) -> None:
    _, plain = copy(cluster, tmp_path)
    _, secure = copy(cluster, tmp_path, TOUCHSTONE_S3_SECURE="true")
    assert plain[0] == "alias set ours http://s3.here our-key our-secret"
    assert secure[0] == "alias set ours https://s3.here our-key our-secret"


@pytest.mark.parametrize("step", ["alias set backup", "cp ", "mirror "])
def test_a_copy_that_fails_fails_the_backup_and_deletes_nothing(step: str, cluster: Manifests, tmp_path: Path) -> None:
    code, calls = copy(cluster, tmp_path, failing=step)
    assert code != 0
    assert not [call for call in calls if call.startswith("rm ")]


def test_no_two_backups_and_no_two_scrubs_run_at_once(cluster: Manifests) -> None:
    cron_jobs = of_kind(cluster, "CronJob")
    assert {name: job["spec"]["concurrencyPolicy"] for name, job in cron_jobs.items()} == {
        "backup": "Forbid",
        "scrub": "Forbid",
    }


def test_the_catalogue_arrives_after_what_it_names(cluster: Manifests) -> None:
    [script] = container(cluster, "fill-library")["args"]
    lines = [line.strip() for line in script.splitlines() if line.strip().startswith("mc")]
    assert "--exclude catalogue.yaml" in lines[1]
    assert lines[2].startswith("mc cp")
    assert lines[2].endswith("/library/catalogue.yaml")
