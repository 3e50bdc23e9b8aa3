"""The demo on the miniverse, with the processes it runs in."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from support.finished_demo import FinishedDemo, short_form
from support.running_stack import QUICK_RECOVERY
from support.servers import server_missing
from touchstone.documents import read_document
from touchstone_stack.demo import Demo
from touchstone_stack.lifecycle import Stack, threads_per_worker
from touchstone_stack.processes import Layout
from touchstone_stack.servers import ServerMissing, free_ports
from touchstone_stack.state import Folder

REPOSITORY = Path(__file__).parents[2]
QUICK_LOOK = REPOSITORY / "studies" / "quick-look" / "study.yaml"


@pytest.fixture(scope="package")
def demo_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder, miniverse = Folder(tmp_path_factory.mktemp("demo").resolve()), REPOSITORY / "miniverse"
    layout = Layout(folder, miniverse, threads_per_worker(), extra=QUICK_RECOVERY)
    stack = Stack(layout, miniverse / "catalogue.yaml", api_port=free_ports(1)[0])
    try:
        with stack.running():
            yield stack
    except ServerMissing as error:
        server_missing(str(error))


@pytest.fixture(scope="package")
def finished_demo(
    request: pytest.FixtureRequest, demo_stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FinishedDemo]:
    study = read_document(QUICK_LOOK)
    if not request.config.getoption("--whole-demo"):
        study = short_form(study)
    folder, printed = tmp_path_factory.mktemp("study"), io.StringIO()
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    state = demo_stack.folder.read_state()
    assert state is not None
    Demo(folder / "study.yaml", folder / "demo.json", Console(file=printed, width=100)).run(state)
    with state.client() as client:
        experiment, created = client.post_document(study)
        assert not created
        detail = client.experiment(experiment.id)
        yield FinishedDemo(demo_stack, client, study, printed.getvalue(), detail, client.results(experiment.id))
