"""What a worker tells, kept; every attempt is wanted."""

from dataclasses import dataclass, field

from touchstone_contracts.messages import StepReport


@dataclass
class SentReports:
    sent: list[StepReport] = field(default_factory=list)

    def send(self, report: StepReport) -> None:
        self.sent.append(report)

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return False
