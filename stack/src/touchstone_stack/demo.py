"""The demo: one study through the whole system over REST, and its answer on the terminal."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from touchstone import Client
from touchstone.documents import read_document
from touchstone.label_tables import print_label_cards
from touchstone.progress import clock, showing_progress
from touchstone.tables import print_counts, print_results, print_verdict
from touchstone_contracts.views import ExperimentView, Results

from touchstone_stack.state import State


@dataclass(frozen=True)
class Demo:
    study: Path
    record: Path
    """Where the experiment's id and the results' digest are written for whoever checks the run."""
    console: Console

    def run(self, state: State) -> None:
        """Raises ExperimentFailed, ProblemError."""
        started = time.monotonic()
        with state.client() as client:
            experiment, created = client.post_document(read_document(self.study))
            self.console.print(f"{experiment.id}: {experiment.name}" + ("" if created else " (posted before)"))
            with showing_progress(self.console) as watcher:
                client.wait(experiment.id, watcher=watcher)
            results = client.results(experiment.id)
            self._print_answer(client, client.experiment(experiment.id), results)
        self.console.print(f"took {clock(time.monotonic() - started)}")
        self._write_record(experiment, results, state)

    def _print_answer(self, client: Client, experiment: ExperimentView, results: Results) -> None:
        self.console.print()
        print_results(self.console, results)
        self.console.print()
        print_counts(self.console, results)
        self.console.print()
        print_label_cards(self.console, client.label_cards(experiment.id))
        self.console.print()
        if experiment.readable_spec.primary is not None:
            print_verdict(self.console, client.verdict(experiment.id))
        steps = experiment.steps
        self.console.print(f"{len(results.rows)} numbers from {steps.total} steps, {steps.reused} of them reused")
        self.console.print(f"Dashboard: {client.server}/experiments/{experiment.id}", soft_wrap=True)

    def _write_record(self, experiment: ExperimentView, results: Results, state: State) -> None:
        facts = {"experiment": experiment.id, "results_digest": results.digest, "api": state.api_url}
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.record.write_text(json.dumps(facts, indent=1) + "\n")
