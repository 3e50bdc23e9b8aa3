"""`make gpu-check`: `python -m gpu` runs every check on the CUDA device and writes .touchstone/gpu.json.

`python -m gpu NAME ...` runs those whose names start so, `python -m gpu small` all at small sizes on the CPU, which
measures nothing, `python -m gpu report` puts what was written into docs/gpu.md."""

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from gpu.checks import CHECKS
from gpu.findings import Setting
from gpu.record import RESULTS, Record, machine, write
from gpu.report import write_report
from gpu.runner import Check, run_all
from touchstone_generator.worker import quieten_libraries


def main(arguments: list[str]) -> int:
    """The exit code: 0 where every check passed or there is no CUDA device."""
    if arguments == ["report"]:
        write_report()
        return 0
    if arguments == ["small"]:
        return summarise(check(CHECKS, torch.device("cpu"), small=True))
    if not torch.cuda.is_available():
        print("No CUDA device here: nothing was checked. The same checks run at small sizes on a CPU in `make test`.")
        return 0
    chosen = [each for each in CHECKS if not arguments or each.name.startswith(tuple(arguments))]
    records = check(chosen, torch.device("cuda"), small=False)
    print(f"written to {RESULTS}")
    return summarise(records)


def check(chosen: Sequence[Check], device: torch.device, *, small: bool) -> list[Record]:
    # CUDA has not started yet: that a worker sets this in time is one of the checks.
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    CHECKS[0].configure(1 if small else 0)
    quieten_libraries()
    logging.disable(logging.WARNING)  # open_clip's about models without pretrained weights, as all are here
    records: list[Record] = []
    facts = machine(device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for record in run_all(chosen, Setting(device, Path(folder), small)):
            records.append(record)
            word = "passed" if record.passed else "NOT PASSED"
            print(f"{record.name}: {word} ({record.outcome}, {record.seconds} s)", flush=True)
            if not small:
                write(RESULTS, facts, records)  # after every check: what was found stays found
    return records


def summarise(records: Sequence[Record]) -> int:
    failed = [record.name for record in records if not record.passed]
    print(f"{len(records) - len(failed)} of {len(records)} checks passed" + "".join(f"; not {name}" for name in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
