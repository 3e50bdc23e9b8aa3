"""Links without embeddings of their images: what compares them before they are downloaded is refused with its field."""

import pytest
from support.specs import DictLookup, spec
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.labelled import Labelled, LabelTable
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import RandomDraw, Retrieval, Semantic, Strategy, TextMatch, Union
from touchstone_contracts.catalogue import ArrayFile, LinkTable, UidList, Upstream
from touchstone_contracts.curation import Curation
from touchstone_contracts.identity import identity, sha256
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import ImagesEmbedded, IngestImages
from touchstone_contracts.values import Blob
from touchstone_planning.fairness import check_fair
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment

DIGEST = sha256(b"table")
ARRAY = ArrayFile(location="s3://laion/img.npy", digest=sha256(b"array"))
TABLE = LinkTable(location="s3://laion/a.tsv", digest=DIGEST, images=500)


def experiment(*strategies: Strategy, table: LinkTable = TABLE, **changes: object) -> ResolvedExperiment:
    lookup = DictLookup()
    lookup.upstreams["world"] = Upstream(name="world", shards=(table,), index_encoder="clip")
    arms = (NoTraining(), *(Retrieval(name=f"retrieved-{n}", strategy=each) for n, each in enumerate(strategies)))
    return resolve(spec(**{"arms": arms, "targets": ("fine",)} | changes), lookup)


def refused(resolved: ResolvedExperiment) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        check_fair(resolved)
    assert caught.value.code == "no_image_embeddings"
    return {error.pointer: error.detail for error in caught.value.errors}


def test_searches_of_images_are_refused_with_what_to_choose() -> None:
    told = refused(experiment(Semantic(), Union(), RandomDraw(), TextMatch(), Semantic(indexes=("text",))))
    assert list(told) == [
        "/arms/1/strategy/indexes", "/arms/2/strategy/semantic/indexes", "/arms/3/strategy/kind",
    ]  # fmt: skip
    assert all(
        "upstream 'world' has links and captions, and no embeddings of its images" in each for each in told.values()
    )
    assert 'choose ["text"]' in told["/arms/1/strategy/indexes"]


def test_comparisons_of_synthetic_images_with_the_upstream_are_refused() -> None:
    arms = (NoTraining(), *(Generation(name=name, generator="diffusion", images=300) for name in ("a", "b")))
    told = refused(experiment(arms=arms, curation=Curation(novelty_cosine=0.9, memorisation_cosine=0.9)))
    assert list(told) == ["/curation/novelty_cosine", "/curation/memorisation_cosine"]


LABELS = LabelTable(location="library:labels.parquet", digest=DIGEST, images=60)


@pytest.mark.parametrize(
    "arm",
    [
        Retrieval(name="words", strategy=TextMatch()),
        Retrieval(name="texts", strategy=Semantic(indexes=("text",), near_duplicate_cosine=0.9)),
        Retrieval(name="both", strategy=Union(semantic=Semantic(indexes=("text",)))),
        Labelled(labels=LABELS),
    ],
    ids=lambda arm: arm.name,
)
def test_searches_of_captions_are_planned_and_images_embedded_once_they_are_there(arm: Retrieval | Labelled) -> None:
    resolved = experiment(arms=(NoTraining(), arm), curation=Curation(novelty_cosine=0.9))
    check_fair(resolved)
    plan = plan_experiment(resolved)
    kinds = [step.kind for step in plan.steps]
    assert kinds.count("take_embeddings") == 1
    assert kinds.count("download_images") == 3
    embedded = [step.role for step in plan.steps if step.kind == "embed_images"]
    assert sum(f"/{arm.name}" in role for role in embedded) == 3


@pytest.mark.parametrize("strategy", [Semantic(), Union(), RandomDraw()], ids=lambda strategy: strategy.kind)
def test_with_embeddings_nothing_is_refused(strategy: Strategy) -> None:
    table = TABLE.model_copy(update={"image_embeddings": ARRAY})
    check_fair(experiment(strategy, table=table, curation=Curation(novelty_cosine=0.9)))


def test_fields_that_came_later_do_not_move_what_was_there() -> None:
    table = TABLE.model_copy(update={"image_embeddings": ARRAY})
    later = {
        "array": table.model_copy(update={"image_embeddings": ARRAY.model_copy(update={"array": "l14_img"})}),
        "uids": table.model_copy(update={"uids": UidList(location="s3://laion/uids.npy", digest=DIGEST)}),
    }
    written = {"array", "uids", "uid"} & set(str(table.model_dump(mode="json")).replace("'", " ").split())
    assert written == set()
    names = {identity(IngestImages(source=each)) for each in (table, *later.values())}
    assert len(names) == 3


def test_an_account_notes_no_comparison_where_nothing_was_given() -> None:
    blob = Blob(digest=DIGEST, size=1)
    captions = ImagesEmbedded(count=3, dimension=8, image_embeddings=None, caption_embeddings=blob)
    assert captions.notes == {}
    given = captions.model_copy(update={"compared": ()})
    assert given.notes == {}
    assert set(given.model_copy(update={"image_embeddings": blob}).notes) == {"embeddings_not_compared"}
