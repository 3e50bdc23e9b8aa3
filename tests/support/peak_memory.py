"""The heaviest steps of one kind of worker in a process of their own, and the most memory that it held.

`python -m support.peak_memory prepare trainer 10 FOLDER` writes the inputs into the object store that TOUCHSTONE_S3_*
names, `python -m support.peak_memory run trainer 10 FOLDER` carries the steps out as a worker does and prints one JSON
line: megabytes that were resident at most, CPU seconds and, by step, the peak until its end."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.judging_case import peak_mb
from support.sized_world import (
    ARMS,
    JUDGED_SIZES,
    METRICS,
    MINIVERSE,
    SEEDS,
    Entries,
    SizedWorld,
    Sizes,
    cells,
    embedded_step_of,
    entries,
    finish,
    source_file,
    step_of,
)
from touchstone_contracts.messages import StepMessage, StepReport
from touchstone_contracts.steps import EmbeddedShard, ModelRef
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import connect_objects
from touchstone_runtime.serving import Progress
from touchstone_runtime.settings import WorkerSettings

Step = tuple[str, Callable[[], Any]]
SOURCE = "source.json"


class Silence:
    def send(self, report: StepReport) -> None: ...

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return False


def progress() -> Progress:
    return Progress(StepMessage(step_id="0" * 64, attempt=1, kind="benchmark", version=1, request={}), Silence())


def main(action: str, service: str, times: str, folder: str) -> None:
    sizes, root, found = Sizes(int(times)), Path(folder), entries()
    if action == "prepare":
        prepare(service, sizes, root, found)
    else:
        run(WORKERS[service](sizes, root, found))


def prepare(service: str, sizes: Sizes, folder: Path, found: Entries) -> None:
    objects = connect_objects(WorkerSettings())
    objects.create_bucket()
    getattr(SizedWorld(Artifacts(objects), sizes, found.target), service)()
    if service == "retrieval":
        shutil.copytree(MINIVERSE / "models", folder / "models")
        source = source_file(folder, sizes.times * sizes.shard, len(found.target.classes))
        (folder / SOURCE).write_text(source.model_dump_json())


def run(steps: Iterator[Step]) -> None:
    before, peaks = time.process_time(), {}
    for name, step in steps:
        step()
        peaks[name] = peak_mb()
    sys.stdout.write(
        json.dumps({"cpu_s": time.process_time() - before, "peak_mb": max(peaks.values()), "steps": peaks}) + "\n"
    )


def retrieval(sizes: Sizes, folder: Path, found: Entries) -> Iterator[Step]:
    from touchstone_contracts.arms.retrieval import Semantic, TextMatch, Union
    from touchstone_contracts.catalogue import ParquetFile
    from touchstone_contracts.curation import Curation
    from touchstone_contracts.steps import (
        AuditPool,
        CurateImages,
        EmbedImages,
        IndexUpstream,
        IngestImages,
        MixPools,
        RetrieveImages,
    )
    from touchstone_encoders.devices import configure_torch
    from touchstone_retrieval import tasks
    from touchstone_retrieval.settings import RetrievalSettings
    from touchstone_retrieval.tools import build_tools

    configure_torch(1)
    tools = build_tools(RetrievalSettings(library=folder, index_folder=folder / "index", device="cpu"))
    artifacts, encoder, target = tools.artifacts, ModelRef.of(found.encoder), found.target
    yield "start", lambda: tools.encoders.get(encoder)

    def ingest() -> None:
        source = ParquetFile.model_validate_json((folder / SOURCE).read_text())
        ingested = tasks.ingest_images(IngestImages(source=source), tools, progress())
        finish(artifacts, step_of("source"), ingested)

    yield "ingest_images", ingest
    embed = EmbedImages(images=step_of("source"), encoder=encoder, captions=True)
    yield "embed_images", lambda: tasks.embed_images(embed, tools, progress())
    upstream = tuple(embedded(f"upstream {shard}") for shard in range(sizes.shards))
    yield "index_upstream", lambda: tasks.index_upstream(IndexUpstream(shards=upstream), tools, progress())
    named = {"encoder": encoder, "classes": target.classes, "templates": target.templates.zero_shot}
    retrieve = RetrieveImages(
        index=step_of("index"),
        shards=upstream,
        strategy=Union(
            text_match=TextMatch(mode="phrase", results_per_query=100),
            semantic=Semantic(indexes=("image", "text"), results_per_query=sizes.times * 30),
        ),
        seed=0,
        **named,
    )
    yield "retrieve_images", lambda: tasks.retrieve_images(retrieve, tools, progress())

    def curate() -> None:
        rules = Curation(near_duplicate_cosine=0.98, leak_cosine=0.98)
        for name in ("candidates", "more candidates"):
            request = CurateImages(candidates=(embedded(name),), test=embedded("test"), rules=rules, **named)
            finish(artifacts, step_of(f"curated {name}"), tasks.curate_images(request, tools, progress()))

    yield "curate_images", curate
    audit = AuditPool(
        pool=step_of("curated candidates"),
        embedded=(embedded("candidates"),),
        judge=encoder,
        test=embedded("test"),
        classes=target.classes,
        templates=target.templates.zero_shot,
        sizes=(sizes.training,),
        rules=Curation(),
    )
    yield "audit_pool", lambda: tasks.audit_pool(audit, tools, progress())
    mix = MixPools(pools=(step_of("curated candidates"), step_of("curated more candidates")))
    yield "mix_pools", lambda: tasks.mix_pools(mix, tools, progress())


def embedded(name: str) -> EmbeddedShard:
    return EmbeddedShard(images=step_of(name), embeddings=embedded_step_of(name))


def trainer(sizes: Sizes, folder: Path, found: Entries) -> Iterator[Step]:
    from touchstone_contracts.adaptation import Evaluation, RegularisedProbe
    from touchstone_contracts.curation import Curation
    from touchstone_contracts.layout import Adaptation
    from touchstone_contracts.recipes.cross_entropy import CrossEntropy
    from touchstone_contracts.recipes.head_only import HeadOnly
    from touchstone_contracts.steps import AdaptEncoder, EvaluateEncoder
    from touchstone_trainer import tasks
    from touchstone_trainer.settings import TrainerSettings
    from touchstone_trainer.tools import build_tools
    from touchstone_trainer.worker import configure_torch

    configure_torch(1)
    settings = TrainerSettings(library=MINIVERSE, device="cpu")
    artifacts = Artifacts(connect_objects(settings))
    tools, encoder, target = build_tools(settings, artifacts), ModelRef.of(found.encoder), found.target
    named: dict[str, Any] = {
        "encoder": encoder,
        "classes": target.classes,
        "templates": target.templates.zero_shot,
        "validation": step_of("validation"),
    }
    yield "start", lambda: tools.encoder(encoder)
    fine_tune = AdaptEncoder(
        pool=step_of("pool"),
        size=sizes.training,
        seed=0,
        learning_rate=1e-4,
        recipe=CrossEntropy(epochs=1, batch_size=32, learning_rates=(1e-4,)),
        rules=Curation(),
        **named,
    )

    def adapt(name: str, request: AdaptEncoder) -> None:
        finish(artifacts, step_of(name), tasks.adapt_encoder(request, tools, progress()))

    yield "adapt_encoder", lambda: adapt("adapted", fine_tune)
    head = fine_tune.model_copy(update={"recipe": HeadOnly(), "learning_rate": None})
    yield "adapt_encoder (head_only)", lambda: adapt("head", head)
    evaluate = EvaluateEncoder(
        adaptations=(Adaptation(learning_rate=1e-4, seed=0, step=step_of("adapted")),),
        seed=0,
        train=step_of("train"),
        test=step_of("test"),
        evaluation=Evaluation(
            metrics=("zero_shot", "linear_probe", "regularised_probe"),
            regularised_probe=RegularisedProbe(smallest=0.01, largest=10, values=7),  # time grows with their number
        ),
        **named,
    )
    yield "evaluate_encoder", lambda: tasks.evaluate_encoder(evaluate, tools, progress())
    untouched = evaluate.model_copy(update={"adaptations": ()})
    yield "evaluate_encoder (untouched)", lambda: tasks.evaluate_encoder(untouched, tools, progress())


def generator(sizes: Sizes, folder: Path, found: Entries) -> Iterator[Step]:
    from touchstone_contracts.arms.generation import Sampler
    from touchstone_contracts.arms.tuning import LoraSettings
    from touchstone_contracts.steps import GenerateImages, PerturbImages, TuneGenerator, WritePrompts
    from touchstone_generator import tasks
    from touchstone_generator.settings import GeneratorSettings
    from touchstone_generator.worker import build_tools, configure_torch, quieten_libraries

    quieten_libraries()
    configure_torch(1)
    settings = GeneratorSettings(library=MINIVERSE, device="cpu")
    artifacts = Artifacts(connect_objects(settings))
    tools, model, target = build_tools(settings, artifacts), ModelRef.of(found.generator), found.target
    named: dict[str, Any] = {"classes": target.classes, "templates": target.templates.synthesis}
    drawn: dict[str, Any] = {
        "generator": model,
        "image_size": found.generator.image_size,
        "sampler": Sampler(scheduler="ddim", steps=2, guidance_scale=3.0, batch_size=16),
        "seed": 0,
    }
    yield "start", lambda: tools.generators.get(model)
    write = WritePrompts(images_per_class=-(-sizes.pool // len(target.classes)), **named)
    yield "write_prompts", lambda: finish(artifacts, step_of("prompts"), tasks.write_prompts(write, tools, progress()))
    generate = GenerateImages(prompts=step_of("prompts"), first=0, last=128, **drawn)
    yield "generate_images", lambda: tasks.generate_images(generate, tools, progress())
    parts = sizes.pool // 125
    perturb = PerturbImages(
        pool=step_of("pool"), part=parts // 2, parts=parts, gamma=0.5, prompt="class_name", **named, **drawn
    )
    yield "perturb_images", lambda: tasks.perturb_images(perturb, tools, progress())
    tune = TuneGenerator(
        images=step_of("pool"),
        images_per_class=sizes.times * 16,
        generator=model,
        image_size=found.generator.image_size,
        lora=LoraSettings(steps=20),
        seed=0,
        **named,
    )
    yield "tune_generator", lambda: tasks.tune_generator(tune, tools, progress())


def judge(sizes: Sizes, folder: Path, found: Entries) -> Iterator[Step]:
    from touchstone_contracts.experiment import Comparison
    from touchstone_contracts.layout import Cell, CellStep, PlanLayout, PoolStep, SplitStep
    from touchstone_contracts.steps import JudgeExperiment
    from touchstone_judge.tasks import Tools, judge_experiment
    from touchstone_runtime.finished import FinishedSteps

    artifacts, target = Artifacts(connect_objects(WorkerSettings())), found.target.name
    tools = Tools(artifacts, FinishedSteps(artifacts))
    yield "start", lambda: None

    def cell(name: str) -> CellStep:
        arm, size, seed = name.split()
        return CellStep(cell=Cell(target=target, arm=arm, size=int(size), seed=int(seed)), step=step_of(name))

    request = JudgeExperiment(
        layout=PlanLayout(
            cells=tuple(map(cell, cells())),
            pools=tuple(PoolStep(target=target, arm=arm, step=step_of("pool")) for arm in ARMS),
            tests=(SplitStep(target=target, test_set="test", step=step_of("test")),),
        ),
        targets=(target,),
        metrics=METRICS,
        sizes=JUDGED_SIZES,
        seeds=SEEDS,
        arms=ARMS,
        untouched="none",
        comparison=Comparison(a=ARMS[0], b=ARMS[1]),
        leaks_checked=True,
    )
    yield "judge_experiment", lambda: judge_experiment(request, tools, progress())


WORKERS: dict[str, Callable[[Sizes, Path, Entries], Iterator[Step]]] = {
    "retrieval": retrieval,
    "generator": generator,
    "trainer": trainer,
    "judge": judge,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
