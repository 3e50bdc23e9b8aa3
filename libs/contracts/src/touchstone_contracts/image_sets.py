"""A set of images: WebDataset tar shards plus a manifest table with one row per image.

Rows point into shards by (digest, offset, length), so a set may refer to another set's shards and a single image is
read by a range request. Column meanings:"""

from touchstone_contracts.values import Blob, Lenient

COLUMNS: dict[str, str] = {
    "id": "sha256 of the encoded image bytes; of a link: as its table says, else of the URL",
    "class_id": "class of the target, -1 where there is none (upstream)",
    "caption": "caption as found, or the prompt",
    "shard": "digest of the tar that holds the bytes, empty for a link",
    "offset": "first byte of the image inside the tar",
    "length": "number of bytes",
    "width": "pixels",
    "height": "pixels",
    "source_kind": "upstream | generated | perturbed | target (a split of it, or a data set with its class ids)",
    "source_key": "key in the source (upstream or target split), URL of a link, prompt id or the parent's key",
    "parent": "id of the image this one was perturbed from, empty otherwise",
    "found_by": "strategy, index and template that found it, e.g. semantic/image/0; empty if not retrieved",
    "query": "the text or pattern asked for when it was found; empty if not retrieved",
    "similarity": "cosine at retrieval, NaN where none",
    "seed": "noise seed of a synthetic image, -1 otherwise",
    "model_digest": "generator's digest, empty otherwise",
    "tuning_digest": "digest of the LoRA weights on the generator, empty without",
    "scheduler": "sampler's scheduler of a synthetic image, empty otherwise",
    "steps": "steps its noise schedule was cut into, -1 otherwise",
    "guidance_scale": "its classifier-free guidance, NaN otherwise",
    "gamma": "share of the schedule a perturbed image went through, NaN otherwise",
    "score": "CLIP score against the own class, NaN before curation",
    "kept": "survived curation",
    "drop_reason": "one of curation.DropReason, nsfw of a link, or taken_down; empty if kept",
    "nearest_test_id": "id of the most similar test image, empty before curation",
    "nearest_test_cosine": "cosine to it, NaN before curation",
    "nearest_validation_id": "id of the most similar validation image, empty where not compared",
    "nearest_validation_cosine": "cosine to it, NaN where not compared",
    "nearest_upstream_id": "id of the upstream image most similar to a synthetic one, empty where not compared",
    "nearest_upstream_cosine": "cosine to it, NaN where not compared",
    "part": "position of its pool in a mixture, from 0; -1 outside one",
    "cluster": "what a test image shares with those drawn together with it, empty where no column says so",
}


class ImageSet(Lenient):
    manifest: Blob
    """Parquet with COLUMNS."""
    shards: tuple[Blob, ...]
    count: int
