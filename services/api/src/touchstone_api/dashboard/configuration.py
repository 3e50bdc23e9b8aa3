"""What an experiment names, for its page."""

from collections.abc import Iterable, Iterator

from touchstone_contracts.catalogue import Dataset, Encoder, Entry, Generator, Target, Upstream
from touchstone_planning.resolved import ResolvedExperiment


def named_entries(resolved: ResolvedExperiment) -> Iterator[tuple[str, type[Entry], tuple[str, ...]]]:
    """(heading, type, names) of everything that the spec names; kinds that it names nothing of are left out."""
    kinds: tuple[tuple[str, type[Entry], Iterable[Entry]], ...] = (
        ("Upstream", Upstream, (resolved.upstream,)),
        ("Targets", Target, resolved.targets),
        ("Encoder", Encoder, (resolved.encoder,)),
        ("Judge", Encoder, filter(None, (resolved.judge_encoder,))),
        ("Encoder of scores", Encoder, filter(None, (resolved.score_encoder,))),
        ("Encoder of copies", Encoder, filter(None, (resolved.copy_encoder,))),
        ("Generators", Generator, resolved.generators),
        ("Data sets", Dataset, resolved.datasets),
    )
    for heading, entry_type, entries in kinds:
        if names := tuple(dict.fromkeys(entry.name for entry in entries)):
            yield heading, entry_type, names
