"""A tiny, randomly initialised causal language model on disk: loads through the same path as a real one."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from touchstone_contracts.arms.prompts import TransformersWriter
from touchstone_runtime.digests import folder_digest
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast


def tiny_writer(library: Path, name: str = "tiny-writer", **settings: object) -> TransformersWriter:
    """Writes `library`/models/`name` (every byte is a token) and returns the writer of a spec. The same weights every
    time; what it writes is noise."""
    folder = library / "models" / name
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=len(vocabulary),
            n_positions=640,
            n_embd=16,
            n_layer=1,
            n_head=2,
            bos_token_id=len(alphabet),
            eos_token_id=len(alphabet),
        )
        GPT2LMHeadModel(config).save_pretrained(folder, safe_serialization=True)
    return TransformersWriter.model_validate(
        {"model": f"library:models/{name}", "digest": folder_digest(folder), **settings}
    )
