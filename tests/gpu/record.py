"""What a run writes to .touchstone/gpu.json."""

import json
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from gpu.findings import Figure, Finding

RESULTS = Path(__file__).parents[2] / ".touchstone" / "gpu.json"


@dataclass
class Record:
    """One check as it ran."""

    name: str
    seconds: float = 0.0
    budget_s: int = 0
    outcome: str = "ran"
    """`ran`, `cut off` (out of time), `not started` (no time left) or the error that ended it."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Figures alone pass; nothing found, something failed or a check that did not end do not."""
        return self.outcome == "ran" and bool(self.findings) and all(f.passed is not False for f in self.findings)


def machine(device: torch.device) -> dict[str, Figure]:
    facts: dict[str, Figure] = {"torch": torch.__version__, "python": platform.python_version()}
    if device.type != "cuda":
        return {"card": "none", **facts}
    properties = torch.cuda.get_device_properties(device)
    return {
        "card": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "cuda": str(torch.version.cuda),
        "driver": _driver(),
        **facts,
    }


def _driver() -> str:
    """The kernel module says it; where there is no such file, the driver's own command."""
    version, command = Path("/sys/module/nvidia/version"), shutil.which("nvidia-smi")
    if version.exists():
        return version.read_text().strip()
    if command is None:
        return "unknown"
    answer = subprocess.run([command, "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True)
    return answer.stdout.decode().partition("\n")[0].strip() or "unknown"


def write(path: Path, facts: dict[str, Figure], records: Sequence[Record]) -> None:
    path.parent.mkdir(exist_ok=True)
    passed = all(record.passed for record in records)
    checks = [asdict(record) | {"passed": record.passed} for record in records]
    path.write_text(json.dumps({"machine": facts, "passed": passed, "checks": checks}, indent=2) + "\n")
