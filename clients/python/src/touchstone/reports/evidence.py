"""What a reader checks and repeats a result with: digests, records of the work, the spec, references."""

from collections.abc import Iterator, Sequence
from textwrap import fill

import yaml
from touchstone_contracts.catalogue import Model
from touchstone_contracts.problems import in_words
from touchstone_contracts.views import ExperimentDetail, ExperimentManifest, MadeWith, Results, Verdict

from touchstone.reports.blocks import Block, Bullets, Heading, Listing, Paragraph, Table
from touchstone.version import VERSION

HUB = "hub:"
LINE = 88
"""Characters of a line that is shown as it is."""

PAPER = """@inproceedings{geng2024unmet,
  title = {The Unmet Promise of Synthetic Training Images: Using Retrieved Real Images Performs Better},
  author = {Geng, Scott and Hsieh, Cheng-Yu and Ramanujan, Vivek and Wallingford, Matthew and Li, Chun-Liang and
    Koh, Pang Wei and Krishna, Ranjay},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
  eprint = {2406.05184},
  archivePrefix = {arXiv}
}"""

SOFTWARE = f"""@software{{touchstone,
  title = {{Touchstone: do generated training images beat retrieved ones?}},
  author = {{{{The Touchstone authors}}}},
  version = {{{VERSION}}},
  note = {{Apache-2.0}}
}}"""


def evidence_blocks(
    manifest: ExperimentManifest, detail: ExperimentDetail, results: Results, verdict: Verdict | None
) -> Iterator[Block]:
    yield Heading("Evidence")
    yield Bullets(tuple(_digests(manifest, results, verdict)))
    yield from _work(manifest, detail)
    yield Heading("Repeat it")
    yield Paragraph(
        f"Save the following as study.yaml. The command touchstone run study.yaml --watch runs it. {_rerun(manifest)}"
    )
    yield Listing(spec_yaml(manifest), "yaml")


def reference_blocks(manifests: Sequence[ExperimentManifest]) -> Iterator[Block]:
    models = {
        (kind, model.name): model
        for manifest in manifests
        for kind, entries in (("encoder", manifest.encoders), ("generator", manifest.generators))
        for model in entries
    }
    yield Heading("References")
    yield Listing(
        "\n\n".join([SOFTWARE, PAPER, *(_reference(*named, model) for named, model in models.items())]), "bibtex"
    )


def spec_yaml(manifest: ExperimentManifest) -> str:
    """The spec with all its defaults, in ASCII; it reads back as the same spec."""
    return yaml.safe_dump(manifest.spec.model_dump(mode="json"), sort_keys=False, width=LINE)


def _rerun(manifest: ExperimentManifest) -> str:
    return (
        f"A server with the same registered entries gives the identity {manifest.identity[:12]}… to it, and the same "
        "numbers have the same results digest."
    )


def _digests(manifest: ExperimentManifest, results: Results, verdict: Verdict | None) -> Iterator[str]:
    yield f"Experiment: {results.experiment}" + ("" if results.complete else " (still running: more rows will come)")
    yield f"Results digest: {results.digest}"
    if verdict is not None and verdict.registration is not None:
        yield f"Registration digest: {verdict.registration.digest}"
    yield f"Identity of spec and registered entries: {manifest.identity}"
    for kind, models in (("Encoder", manifest.encoders), ("Generator", manifest.generators)):
        for model in models:
            yield f"{kind} {model.name}: {model.model}, {_pinned(model)}"


def _pinned(model: Model) -> str:
    return f"digest {model.digest}" if model.digest else "pinned by its commit"


def _work(manifest: ExperimentManifest, detail: ExperimentDetail) -> Iterator[Block]:
    """By kind of step."""
    versions = {step.kind: step.version for step in manifest.steps}
    rows = []
    for kind, version in versions.items():
        done = [step for step in detail.step_list if step.kind == kind and step.state == "succeeded"]
        seconds = sum(step.seconds or 0.0 for step in done)
        rows.append((kind, str(version), str(len(done)), f"{seconds:,.1f}"))
    headings = ("kind of step", "contract version", "done", "seconds")
    yield Table("work", "Work by kind of step, in seconds on its workers", headings, tuple(rows), texts=1)
    yield from _environments(manifest)


def _environments(manifest: ExperimentManifest) -> Iterator[Block]:
    """Software and hardware of the workers, as each step's record has them; a list of packages is shown once."""
    yield Heading("Software and hardware")
    if manifest.made_with:
        yield Bullets(tuple(f"Environment {number}: {_machine(each)}" for number, each in _numbered(manifest)))
    users: dict[str, list[str]] = {}
    for number, each in _numbered(manifest):
        packages = " ".join(f"{name}=={version}" for name, version in each.environment.packages.items())
        users.setdefault(packages, []).append(str(number))
    for packages, numbers in users.items():
        yield Paragraph(f"Python packages of environment{'s' * (len(numbers) > 1)} {in_words(numbers, 'and')}:")
        yield Listing(fill(packages, LINE, break_long_words=False, break_on_hyphens=False), "text")
    unknown = manifest.made_with_unknown
    said = f"Of {unknown} finished steps neither was recorded, as in earlier releases: state those of their workers. "
    yield Paragraph((said if unknown else "") + f"Written by touchstone-lab {VERSION}.")


def _numbered(manifest: ExperimentManifest) -> Iterator[tuple[int, MadeWith]]:
    return enumerate(manifest.made_with, 1)


def _machine(made: MadeWith) -> str:
    found = made.environment
    device = "no GPU" if found.device == "cpu" else f"GPU {found.device}"
    machine = f"{device}, {found.cpus} CPUs ({found.cpu}), {found.system}, Python {found.python}"
    return f"{machine}; {made.steps} steps ({in_words(made.kinds, 'and')})"


def _reference(kind: str, name: str, model: Model) -> str:
    """What its registration says of it."""
    lineage = [f"trained on {model.trained_on}"] if model.trained_on else []
    note = ", ".join([*lineage, _pinned(model)])
    return (
        f"@misc{{{kind}-{name},\n  title = {{{_plain(name)}}},\n"
        f"  howpublished = {{{_where(model)}}},\n  note = {{{_plain(note)}}}\n}}"
    )


def _where(model: Model) -> str:
    if model.model.startswith(HUB):
        return f"\\url{{https://huggingface.co/{model.model.removeprefix(HUB).partition('@')[0]}}}"
    return f"\\texttt{{{_plain(model.model)}}}"


def _plain(text: str) -> str:
    for sign in "%&#$_":
        text = text.replace(sign, f"\\{sign}")
    return text
