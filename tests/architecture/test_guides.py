"""What README and guides tell people to type: each command is run by a test, or says that it is not."""

import re
from pathlib import Path

import pytest
from support.deployment import ROOT

UNTRIED = "# not tried by our tests"
NEWCOMER = "tests/e2e/test_first_run.py"
CONTAINERS = "tests/containers/test_every_image.py"
LOCAL_CLUSTER = "tests/architecture/test_kubernetes_local.py"
RENDERING = "tests/architecture/test_kubernetes_rendering.py"
UP_LOCALLY = (LOCAL_CLUSTER, "test_one_command_loads_every_image_of_ours_and_applies_the_overlay")
BACKED_UP = (NEWCOMER, "test_a_backup_brings_back_an_experiment_that_was_deleted")
TAKEN_DOWN = (NEWCOMER, "test_weights_are_collected_and_images_taken_down")
CHECKS_ON_CPU = ("tests/integration/test_gpu_check.py", "test_")
FIRST_RUN = (NEWCOMER, "test_five_commands_lead_to_a_verdict")
COMPOSED = (CONTAINERS, "test_down_and_up_again_keeps_the_answer")

TRIED = {
    "README.md": {
        "make demo": ("tests/demo/test_demo.py", "test_it_prints_results_verdict_and_the_dashboards_address"),
        "make test": (".ci/run", "make test"),
        "curl": (NEWCOMER, "test_the_readmes_request_creates_an_experiment"),
        "make compose-up": COMPOSED,
        "k8s/overlays/local/up kind": UP_LOCALLY,
        "make gpu-check": CHECKS_ON_CPU,
    },
    "docs/first-run.md": {
        "make up": FIRST_RUN,
        '.venv/bin/touchstone add upstream "my photos" --index-encoder mini-clip': FIRST_RUN,
        '.venv/bin/touchstone add target "my classes"': FIRST_RUN,
        '.venv/bin/touchstone add dataset "my own images" --target my-classes': FIRST_RUN,
        ".venv/bin/touchstone run my-study.yaml --watch": FIRST_RUN,
        "make down": FIRST_RUN,
    },
    "docs/guides/operations.md": {
        "make up": (NEWCOMER, "test_up_starts_a_system_that_is_ready_and_knows_the_miniverse"),
        "make down": (NEWCOMER, "test_down_stops_it"),
        "make compose-up": COMPOSED,
        "docker compose ps": COMPOSED,
        "docker compose down": COMPOSED,
        "make gpu-check": CHECKS_ON_CPU,
        "make backup TO=/backups/touchstone": BACKED_UP,
        "make restore FROM=/backups/touchstone": BACKED_UP,
        'make takedown IMAGE=SHA256 REASON="asked for by the photographer"': TAKEN_DOWN,
        "make takedown KEY=https://example.org/picture.jpg LOOK=1": TAKEN_DOWN,
    },
    "docs/guides/kubernetes.md": {
        "k8s/overlays/local/up kind": UP_LOCALLY,
        "k8s/overlays/local/up k3s /path/to/library gpu": UP_LOCALLY,
        "k8s/overlays/local/make-secrets": (LOCAL_CLUSTER, "test_secrets_that_are_there_stay_as_they_are"),
        "kubectl kustomize k8s/overlays/local": (RENDERING, "test_every_overlay_renders_to_valid_manifests"),
        "kubectl kustomize k8s/overlays/cluster": (RENDERING, "test_every_overlay_renders_to_valid_manifests"),
        'pg_restore --clean --if-exists --no-owner --single-transaction --dbname "$DATABASE_URL" touchstone.dump': (
            "tests/integration/test_database_backup.py",
            "test_a_dump_brings_back_what_was_there_and_nothing_that_came_later",
        ),
    },
}
"""By page: a command and the test that runs it, or what `make` runs for it."""


def commands(page: str) -> list[str]:
    """Lines of the page's shell blocks; a command that goes on over several lines is its first word."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    joined = [re.sub(r"'\{.*?\}'", "", block.replace("\\\n", " "), flags=re.DOTALL) for block in blocks]
    lines = [line.strip() for block in joined for line in block.splitlines() if line.strip()]
    return ["curl" if line.startswith("curl ") else line for line in lines]


def typed(command: str) -> str:
    """Without the remark behind it."""
    return re.split(r" +# ", command)[0]


@pytest.mark.parametrize("page", TRIED)
def test_each_command_is_run_by_a_test_or_says_that_it_is_not(page: str) -> None:
    found = commands(page)
    assert len(found) >= 6
    assert {typed(command) for command in found if not command.endswith(UNTRIED)} == set(TRIED[page])


@pytest.mark.parametrize(("file", "test"), sorted({test for page in TRIED.values() for test in page.values()}))
def test_the_tests_that_run_commands_exist(file: str, test: str) -> None:
    text = (ROOT / file).read_text()
    assert f"def {test}" in text or f"exec {test}" in text


def test_guides_link_to_files_that_exist() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]
    assert len(links) >= 40
    assert not [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()]


def test_the_cluster_guide_names_files_that_exist() -> None:
    guide = (ROOT / "docs/guides/kubernetes.md").read_text()
    named = set(re.findall(r"`((?:k8s|tests|monitoring)/[\w./-]+)`", guide))
    assert len(named) >= 3
    assert all((ROOT / name).exists() for name in named), named
    components = set(re.findall(r"^\| `([\w-]+)`(?:, `([\w-]+)`)? \|", guide, flags=re.MULTILINE))
    for name in filter(None, (each for pair in components for each in pair)):
        assert (ROOT / "k8s/components" / name).is_dir(), name


def test_every_page_is_looked_at() -> None:
    told = {str(path.relative_to(ROOT)) for path in ROOT.glob("docs/guides/*.md") if "```sh" in path.read_text()}
    assert told <= {*TRIED, *OTHER_PAGES}


OTHER_PAGES = {str(Path("docs/guides") / name) for name in ("upstreams.md", "far-domain.md", "monitoring.md")}
"""Their commands are tests/unit/test_upstream_guide.py's, or need no shell."""


def test_no_document_waits_for_a_figure() -> None:
    """`@R1@` and the like stand for what is still to be measured."""
    documents = [path for path in ROOT.rglob("*.md") if not {".venv", ".touchstone", ".uv"} & set(path.parts)]
    assert len(documents) >= 100
    waiting = [path.name for path in documents if re.search(r"@[A-Z]+[0-9]*@", path.read_text())]
    assert waiting == []
