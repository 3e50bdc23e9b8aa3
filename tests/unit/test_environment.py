"""What a worker computes with, as it describes itself."""

import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from touchstone_runtime import environment
from touchstone_runtime.environment import cpu_name, describe_environment, describer, usable_cpus


def test_it_names_the_packages_that_are_installed_here() -> None:
    found = describe_environment("cpu")
    assert found.packages["numpy"] == np.__version__
    assert "touchstone-runtime" in found.packages
    assert len(found.packages) > 50
    assert list(found.packages) == sorted(found.packages, key=str.lower)
    assert (found.python, found.device) == (platform.python_version(), "cpu")
    assert found.cpus == usable_cpus() >= 1
    assert found.cpu == cpu_name() != ""


@dataclass
class Card:
    """What is asked of torch.cuda."""

    used: bool
    asked: int = 0

    def is_initialized(self) -> bool:
        return self.used

    def get_device_name(self) -> str:
        self.asked += 1
        return "Some Card"

    def mem_get_info(self) -> tuple[int, int]:
        return 1, 2

    def memory_allocated(self) -> int:
        return 0

    def memory_reserved(self) -> int:
        return 0


def test_a_card_is_asked_for_its_name_when_a_step_has_used_it() -> None:
    card = Card(used=False)
    describe = describer("cuda", card)
    assert (describe().device, card.asked) == ("cpu", 0)
    card.used = True
    assert (describe().device, card.asked) == ("Some Card", 1)
    assert describer("cpu", None)().device == "cpu"
    assert describer("mps", None)().device == "mps"


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
