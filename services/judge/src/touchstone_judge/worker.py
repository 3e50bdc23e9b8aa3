"""The judge's worker: `python -m touchstone_judge.worker`."""

from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.bootstrap import run_worker
from touchstone_runtime.finished import FinishedSteps
from touchstone_runtime.logs import configure_logs
from touchstone_runtime.objects import connect_objects

from touchstone_judge.settings import JudgeSettings
from touchstone_judge.tasks import Tools, handlers


def main() -> None:
    settings = JudgeSettings()
    configure_logs(settings.log_level, settings.log_format, settings.secrets)
    artifacts = Artifacts(connect_objects(settings))
    run_worker(handlers, Tools(artifacts, FinishedSteps(artifacts)), artifacts, settings, device="cpu")


if __name__ == "__main__":
    main()
