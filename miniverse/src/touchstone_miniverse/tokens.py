"""The miniverse's own byte-pair vocabulary, in the layout of CLIP's tokenizer."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTokenizer

VOCABULARY = 4096
WORD_END = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"
# CLIP's own pattern (open_clip/tokenizer.py): contractions, letters, single digits, the rest.
WORDS = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def train_tokenizer(captions: Iterable[str], context: int, size: int = VOCABULARY) -> CLIPTokenizer:
    """A CLIPTokenizer of at most `size` entries; the end token has the highest id, which CLIP's pooling relies on."""
    learner = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Ties between merges are settled by ids: given up front, letters at a word's end have the same ids every time.
    trainer = trainers.BpeTrainer(
        vocab_size=size - 2, end_of_word_suffix=WORD_END, initial_alphabet=alphabet, show_progress=False,
        special_tokens=[letter + WORD_END for letter in alphabet],
    )  # fmt: skip
    learner.train_from_iterator(captions, trainer)
    vocabulary, merges = _with_special_tokens(learner)
    return CLIPTokenizer(
        vocab=vocabulary, merges=merges, unk_token=END, bos_token=START, eos_token=END, pad_token=END,
        model_max_length=context,
    )  # fmt: skip


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """(n, context) token ids; longer texts lose their end."""
    return tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt").input_ids


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer saved in a model folder."""
    return CLIPTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _with_special_tokens(learner: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(learner.to_str())["model"]
    ordered = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return {token: number for number, token in enumerate([*ordered, START, END])}, [
        (left, right) for left, right in model["merges"]
    ]
