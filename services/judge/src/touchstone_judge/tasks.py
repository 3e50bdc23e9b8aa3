"""One adapter per contract of the queue `judge`."""

from dataclasses import dataclass

from touchstone_contracts.problems import Invalid, Problem, Unfair
from touchstone_contracts.steps import (
    CHECK_TARGET,
    JUDGE_EXPERIMENT,
    CheckTarget,
    ExperimentJudged,
    JudgeExperiment,
    TargetChecked,
)
from touchstone_contracts.values import Blob
from touchstone_contracts.views import Results, Scaling, Verdict
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.finished import FinishedSteps
from touchstone_runtime.logs import get_logger
from touchstone_runtime.serving import Handlers, Progress

from touchstone_judge.draws import seed_overlap
from touchstone_judge.fairness import read_split_evidence
from touchstone_judge.judging import fit_scaling, judge_tests
from touchstone_judge.labels import read_label_cards
from touchstone_judge.learning_rates import read_choices
from touchstone_judge.measurements import read_evaluations, read_results, read_tests, read_upstream_images
from touchstone_judge.splits import check_splits

log = get_logger(__name__)

NO_COMPARISON = Problem(
    title="Nothing to compare", status=409, code="no_comparison", detail="a verdict needs two arms that train"
)


@dataclass(frozen=True)
class Tools:
    artifacts: Artifacts
    finished: FinishedSteps


handlers = Handlers[Tools]("judge")


@handlers.serve(CHECK_TARGET)
def check_target(request: CheckTarget, tools: Tools, progress: Progress) -> TargetChecked:
    steps = {"test": request.test, **request.further_tests, "validation": request.validation}
    if request.train is not None:
        steps["train"] = request.train
    checked = check_splits(request.classes, {name: tools.finished.split(step) for name, step in steps.items()})
    log.info("target.checked", shared=len(checked.shared), splits=len(checked.splits))
    return checked


@handlers.serve(JUDGE_EXPERIMENT)
def judge_experiment(request: JudgeExperiment, tools: Tools, progress: Progress) -> ExperimentJudged:
    """Raises MissingObject when a measurement was lost from the object store."""
    _require_the_seeds(request)
    tools.finished.forget_images()
    evaluations = read_evaluations(request.layout, tools.finished)
    results = read_results(request, evaluations, tools.finished)
    tests = read_tests(request, evaluations, tools.finished, progress)
    scaling = fit_scaling(request, tests, results) if request.first_seeds is None else None
    verdict, problem = None, None
    if request.comparison is None:
        problem = NO_COMPARISON
    else:
        cards = read_label_cards(request, tools.finished)
        overlap = seed_overlap(request, request.comparison, evaluations, tools.finished)
        choices = read_choices(request, request.comparison, evaluations, tools.finished)
        upstream = read_upstream_images(request, tools.finished)
        splits = read_split_evidence(request, request.comparison, tools.finished)
        try:
            verdict = judge_tests(
                request, request.comparison, tests, results, scaling, choices, cards, splits, overlap, upstream
            )
        except Unfair as nothing_to_compare:
            problem = nothing_to_compare.problem()
    log.info("experiment.judged", rows=len(results.rows), answer=verdict.answer if verdict else None)
    return ExperimentJudged(
        results_digest=results.digest,
        results=_stored(tools, results) if request.first_seeds is None else None,
        scaling=_stored(tools, scaling),
        verdict=_stored(tools, verdict),
        problem=problem,
        headline=verdict.headline if verdict else None,
    )


def _stored(tools: Tools, document: Results | Scaling | Verdict | None) -> Blob | None:
    return None if document is None else tools.artifacts.put_blob(document.model_dump_json().encode())


def _require_the_seeds(request: JudgeExperiment) -> None:
    """Raises Invalid where the layout has other seeds than are to be judged."""
    found = {entry.cell.seed for entry in request.layout.cells}
    wanted = set(request.seeds[: request.first_seeds])
    if found != wanted:
        raise Invalid(f"the layout measures the seeds {sorted(found)}, but {sorted(wanted)} are to be judged")
