"""What a worker computes with, as it describes itself."""

import platform
from pathlib import Path

import numpy as np
import pytest
from touchstone_runtime import environment
from touchstone_runtime.environment import cpu_name, describe_environment, usable_cpus


def test_it_names_the_packages_that_are_installed_here() -> None:
    found = describe_environment("cpu")
    assert found.packages["numpy"] == np.__version__
    assert "touchstone-runtime" in found.packages
    assert len(found.packages) > 50
    assert list(found.packages) == sorted(found.packages, key=str.lower)
    assert (found.python, found.device) == (platform.python_version(), "cpu")
    assert found.cpus == usable_cpus() >= 1
    assert found.cpu == cpu_name() != ""


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (
            "processor : 0\nmodel name\t: Some Processor 7 @ 2.00GHz\nmodel name\t: another\n",
            "Some Processor 7 @ 2.00GHz",
        ),
        ("processor : 0\n", platform.processor() or platform.machine()),
        (None, platform.processor() or platform.machine()),
    ],
)
def test_a_processor_is_called_as_it_calls_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str | None, name: str
) -> None:
    file = tmp_path / "cpuinfo"
    if told is not None:
        file.write_text(told)
    monkeypatch.setattr(environment, "CPU_FACTS", file)
    assert cpu_name() == name
