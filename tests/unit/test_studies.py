"""Every study on the miniverse, with each of its variants, can be planned, and asks one question at a time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from touchstone.documents import UnreadableDocument, read_document, read_study
from touchstone_contracts.catalogue import Catalogue, Dataset, Encoder, Generator, Target, Upstream
from touchstone_contracts.changes import apply_changes
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_miniverse import far_domain
from touchstone_miniverse.build import TARGET_SCHEMA, write_table
from touchstone_miniverse.catalogue import SPLITS
from touchstone_planning.estimate import workload
from touchstone_planning.fairness import check_fair
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve

ROOT = Path(__file__).parents[2]
STUDIES = sorted(folder.parent for folder in (ROOT / "studies").glob("*/study.yaml"))


class Registered:
    """The entries of a catalogue file."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.entries = catalogue

    def upstream(self, name: str) -> Upstream | None:
        return next((entry for entry in self.entries.upstreams if entry.name == name), None)

    def encoder(self, name: str) -> Encoder | None:
        return next((entry for entry in self.entries.encoders if entry.name == name), None)

    def generator(self, name: str) -> Generator | None:
        return next((entry for entry in self.entries.generators if entry.name == name), None)

    def target(self, name: str) -> Target | None:
        return next((entry for entry in self.entries.targets if entry.name == name), None)

    def dataset(self, name: str) -> Dataset | None:
        return next((entry for entry in self.entries.datasets if entry.name == name), None)


@pytest.fixture(scope="module")
def miniverse(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    """With the far target, which is prepared on request, and what studies register beside the rest."""
    document = yaml.load((ROOT / "miniverse" / "catalogue.yaml").read_text(), Loader=yaml.CSafeLoader)
    document["targets"].append(far_target(tmp_path_factory.mktemp("library")))
    for own in (yaml.safe_load(path.read_text()) for path in (ROOT / "studies").glob("*/catalogue.yaml")):
        for kind in ("targets", "datasets"):
            document.setdefault(kind, []).extend(own.get(kind, []))
    return Registered(Catalogue.model_validate(document))


def far_target(library: Path) -> Mapping[str, Any]:
    """Fashion-MNIST's entry over 50 black pictures a class and split."""
    folder, labels = library / "prepared" / far_domain.NAME, np.repeat(np.arange(len(far_domain.CLASSES)), 50)
    for split in SPLITS:
        black = np.zeros((len(labels), 28, 28), np.uint8)
        columns = far_domain.columns_of(split, black, labels, np.arange(len(labels)))
        write_table(columns, TARGET_SCHEMA, folder / f"{split}.parquet")
    return far_domain.target_entry(folder, library)


def test_every_type_of_experiment_has_its_study() -> None:
    assert len(STUDIES) >= 23
    assert all((folder / "README.md").exists() for folder in STUDIES)


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_a_study_and_its_variants_can_be_planned(folder: Path, miniverse: Registered) -> None:
    specs = [ExperimentSpec.model_validate(document) for document in read_study(folder)]
    assert len({spec.name for spec in specs}) == len(specs)  # told apart in a list
    identities = set()
    for spec in specs:
        resolved = resolve(spec, miniverse)
        check_fair(resolved)
        assert len(plan_experiment(resolved).steps) > 20
        identities.add(resolved.model_copy(update={"spec": spec.model_copy(update={"name": "x"})}).model_dump_json())
    assert len(identities) == len(specs)  # no variant asks the study's own question again


def test_what_a_variant_says_holds_in_its_experiment() -> None:
    checked = 0
    for folder in STUDIES:
        if not (folder / "variants.yaml").exists():
            continue
        changes = read_document(folder / "variants.yaml").values()
        for change, document in zip(changes, read_study(folder)[1:], strict=True):
            spec = ExperimentSpec.model_validate(document)
            assert ExperimentSpec.model_validate(apply_changes(spec.model_dump(mode="json"), change)) == spec
            checked += 1
    assert checked >= 11


def test_a_variant_is_its_study_with_changes(tmp_path: Path) -> None:
    base: dict[str, Any] = {"name": "base", "curation": {"leak_cosine": 0.9, "ranking": "score"}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "variants.yaml").write_text("without:\n  name: without\n  curation: {leak_cosine: null}\n")
    assert read_study(tmp_path) == [base, {"name": "without", "curation": {"leak_cosine": None, "ranking": "score"}}]
    assert read_study(tmp_path / "study.yaml") == [base]


def test_a_folder_without_a_study_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match=r"study\.yaml"):
        read_study(tmp_path)


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_a_study_can_be_estimated(folder: Path, miniverse: Registered) -> None:
    for document in read_study(folder):
        resolved = resolve(ExperimentSpec.model_validate(document), miniverse)
        found = workload(resolved, plan_experiment(resolved))
        runs = (
            len(resolved.targets)
            * len(resolved.spec.training_arms)
            * len(resolved.spec.sizes)
            * len(resolved.spec.seeds)
        )
        assert found.adaptations >= runs
        assert found.images_evaluated > 0
