"""Which settings class belongs to which deployed process."""

from pydantic_settings import BaseSettings
from touchstone_api.settings import ApiSettings
from touchstone_conductor.settings import ConductorSettings
from touchstone_generator.settings import GeneratorSettings
from touchstone_judge.settings import JudgeSettings
from touchstone_retrieval.settings import RetrievalSettings
from touchstone_trainer.settings import TrainerSettings

SETTINGS: dict[str, type[BaseSettings]] = {
    "api": ApiSettings,
    "migrate": ApiSettings,
    "conductor": ConductorSettings,
    "judge": JudgeSettings,
    "retrieval": RetrievalSettings,
    "generator": GeneratorSettings,
    "trainer": TrainerSettings,
}
"""By service name in docker-compose.yml (less `-gpu`) and in k8s/."""


def variables(process: str) -> set[str]:
    """The environment variables a process reads."""
    return {f"TOUCHSTONE_{name.upper()}" for name in SETTINGS[process].model_fields}
