"""What the retrieval arms of an experiment looked for in captions, from the results of their finished steps."""

from collections.abc import Iterable

from touchstone_contracts.steps import RETRIEVE_IMAGES
from touchstone_contracts.views import ManifestStep, SearchedQueries, SearchedQuery
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.finished import read_finished

MOST_QUERIES = 10_000


def searched_queries(experiment: str, steps: Iterable[ManifestStep], artifacts: Artifacts) -> SearchedQueries:
    """Of steps with the role `target/arm/retrieve`; deeper searches for links repeat their queries. Steps of releases
    that did not tell what they searched have none."""
    roles = {step.id: step.role.split("/") for step in steps}
    asked = {step: role for step, role in roles.items() if role[2:] == ["retrieve"]}
    found = read_finished(lambda step: artifacts.result(RETRIEVE_IMAGES, step), asked)
    total, queries = 0, list[SearchedQuery]()
    for step, result in found.items():
        if result.searched is None:
            continue
        table = artifacts.get_table(result.searched)
        total += table.num_rows
        target, arm, _ = asked[step]
        rows = table.slice(0, MOST_QUERIES - len(queries)).to_pylist()
        queries += [SearchedQuery(target=target, arm=arm, **row) for row in rows]
    return SearchedQueries(experiment=experiment, total=total, queries=tuple(queries))
