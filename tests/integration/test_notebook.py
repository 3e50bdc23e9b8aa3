"""The SDK in a notebook, against an api on a socket: the tutorial, what is shown, and the awaited client."""

import asyncio
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.figure
import pytest
import touchstone
from support.deployment import ROOT
from support.finished_experiments import Told, finish_experiment, finished_on_memory, post, register_all
from support.memory_services import OPERATOR_KEY, memory_services
from support.notebooks import read_notebook
from support.served_api import serving_api
from support.specs import DictLookup
from touchstone.credentials import KEY_VARIABLE
from touchstone.progress import in_notebook, showing_bar
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects

pd = pytest.importorskip("pandas", reason="an extra of the client; `make setup` installs it")

TUTORIAL = ROOT / "clients/python/examples/tutorial.ipynb"


@dataclass(frozen=True)
class Served:
    server: str
    told: Told


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    services, _, told = finished_on_memory(tmp_path_factory.mktemp("finished"))
    with serving_api(services) as server:
        yield Served(server, told)


@pytest.fixture
def client(served: Served) -> Iterator[touchstone.Client]:
    with touchstone.Client(served.server, key=OPERATOR_KEY) as found:
        yield found


@pytest.fixture
def experiment(client: touchstone.Client, served: Served) -> touchstone.Experiment:
    """Posted again: it is the finished one."""
    found = client.run(served.told.spec)
    assert (found.id, found.created) == (served.told.id, False)
    return found


def test_the_tutorial_runs_from_its_first_cell_to_its_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, OPERATOR_KEY)
    services = memory_services(tmp_path, Artifacts(MemoryObjects()))
    lookup = DictLookup()
    register_all(services, lookup)
    with serving_api(services) as server:
        small = {
            "UPSTREAM": "world",
            "ENCODER": "clip",
            "GENERATOR": "diffusion",
            "TARGETS": ["fine"],
            "SIZES": [6, 12],
        }
        notebook = read_notebook(TUTORIAL, {"SERVER": server, **small})
        values = list(notebook.run(until="experiment.wait()"))
        # What workers would have done by now.
        spec = ExperimentSpec.model_validate(notebook.names["spec"])
        told = post(services, spec, lookup)
        finish_experiment(services, told)
        values += notebook.run()
        rows = notebook.names["experiment"].results.rows
    assert (len(values), notebook.done) == (14, 14)
    assert notebook.names["experiment"].id == told.id
    assert notebook.names["experiment"].phase == "succeeded"
    assert "retrieved beats synthetic" in notebook.names["headline"]
    assert len(notebook.names["frame"]) == len(rows) >= 18
    assert "did you mean 'sizes'?" in str(notebook.names["refused"])
    assert notebook.names["smaller"].phase == "cancelled"
    assert notebook.names["smaller"].view.steps.reused > 0
    shown = [value for value in values if hasattr(value, "_repr_html_") or hasattr(value, "_repr_png_")]
    assert len(shown) >= 7


def test_the_tutorial_is_kept_without_outputs_and_names_what_the_miniverse_has() -> None:
    document = json.loads(TUTORIAL.read_text())
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert len(code) == 14
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []
    catalogue = (ROOT / "miniverse/catalogue.yaml").read_text()
    names: dict[str, object] = {}
    exec("".join(code[0]["source"]), names)
    for name in (names["UPSTREAM"], names["ENCODER"], names["GENERATOR"], *names["TARGETS"]):  # type: ignore[misc]
        assert re.search(rf"^\s*(- )?name: {name}$", catalogue, flags=re.MULTILINE), name


def test_a_frame_has_every_row_with_its_units_untouched(experiment: touchstone.Experiment) -> None:
    results = experiment.wait().results
    frame, summary = results.to_pandas(), results.to_pandas(summary=True)
    assert (len(frame), len(summary)) == (len(results.rows), len(results.summary)) == (60, 20)
    assert frame.value.between(0, 1).all()
    means = frame.groupby(["target", "arm", "size", "metric"]).value.mean()
    for row in results.summary:
        assert means[row.target, row.arm, row.size, row.metric] == pytest.approx(row.mean)
    assert frame.attrs == {"experiment": experiment.id, "digest": results.digest, "complete": True}
    compared = experiment.verdict.to_pandas()
    assert compared.endpoint.tolist()[0] == "primary"
    assert len(compared) == 1 + len(experiment.verdict.secondary) > 5


def test_a_verdict_is_read_in_text_and_in_html(experiment: touchstone.Experiment) -> None:
    verdict = experiment.verdict
    text, page = repr(verdict), verdict._repr_html_()
    assert text.startswith(f"Verdict: {verdict.headline}")
    assert str(verdict) == text
    for said in (verdict.headline, "Against the untouched encoder", *verdict.warnings):
        assert html.escape(said) in page
    primary = verdict.primary
    assert f"{100 * primary.low:+.1f} to {100 * primary.high:+.1f}" in page
    assert len(verdict.warnings) >= 3


def test_foreign_text_in_html_is_escaped(experiment: touchstone.Experiment) -> None:
    hostile = experiment.verdict.model_copy(update={"headline": "<script>alert(1)</script>"})
    assert "<script>" not in hostile._repr_html_()
    named = experiment.refresh()
    named.view = named.view.model_copy(update={"name": "<img src=x>"})
    assert "<img" not in named._repr_html_()


def test_results_are_read_in_text_and_in_html(experiment: touchstone.Experiment) -> None:
    results = experiment.results
    assert "Accuracy in %" in repr(results)
    page = results._repr_html_()
    assert page.count("<tr>") == 1 + len({(row.target, row.arm, row.size) for row in results.summary}) == 11
    assert "standard deviation over seeds" in page


def test_plots_say_what_their_error_bars_are_and_do_not_blow_up_noise(experiment: touchstone.Experiment) -> None:
    accuracies, differences = experiment.plot(), experiment.verdict.plot()
    assert isinstance(accuracies, matplotlib.figure.Figure)
    label = accuracies.get_supxlabel()
    assert label == "Error bars: ± 1 standard deviation over 3 seeds"
    assert "95 % intervals" in differences.axes[0].get_xlabel()
    assert len(accuracies.axes) == 2
    assert all(high - low >= 5 for low, high in (axes.get_ylim() for axes in accuracies.axes))
    for axes in accuracies.axes:
        legend = axes.get_legend()
        assert legend is not None
        assert any("untouched" in text.get_text() for text in legend.get_texts())
    assert accuracies._repr_png_().startswith(b"\x89PNG")


def test_the_bar_of_a_notebook_counts_steps(
    experiment: touchstone.Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not in_notebook()
    detail = experiment._client.experiment(experiment.id)
    with showing_bar() as watcher:
        watcher(detail)
    assert f"{detail.steps.total}/{detail.steps.total}" in capsys.readouterr().err


def test_the_awaited_client_answers_as_the_other_does(
    client: touchstone.Client, served: Served, tmp_path: Path
) -> None:
    async def ask() -> None:
        async with touchstone.AsyncClient(served.server, key=OPERATOR_KEY) as awaited:
            run = await (await awaited.run(served.told.spec)).wait()
            assert (run.id, run.phase, run.created) == (served.told.id, "succeeded", False)
            assert await run.results() == client.results(run.id)
            assert await run.verdict() == client.verdict(run.id)
            assert [each.id async for each in awaited.experiments()] == [each.id for each in client.experiments()]
            assert [each async for each in awaited.steps(run.id)] == list(client.steps(run.id))
            assert (await awaited.find("quick")).id == run.id
            events = [event.id async for event in awaited.events(run.id)]
            assert events == [event.id for event in client.events(run.id)]
            assert len(events) > 0
            file = tmp_path / "predictions.parquet"
            assert await awaited.save_predictions(run.id, file) == file.stat().st_size > 0
            with pytest.raises(touchstone.NotFound):
                await awaited.experiment("exp_0000000000000000")
            with pytest.raises(touchstone.UnknownName, match="did you mean 'quick'"):
                await awaited.find("quik")
            with pytest.raises(touchstone.NotFound):
                await awaited.save_predictions("exp_0000000000000000", tmp_path / "none")
            assert not (tmp_path / "none").exists()

    asyncio.run(ask())
