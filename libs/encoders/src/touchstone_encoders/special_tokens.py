"""What stands in a text is text: the name of a special token, such as `<end_of_text>`, does not act as that token."""

import re

from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, SimpleTokenizer


def read_as_text(tokenizer: SimpleTokenizer | HFTokenizer | SigLipTokenizer) -> None:
    """From now on the tokenizer takes special tokens in a text for the characters they are written with. What it puts
    before and behind a text stays."""
    if not isinstance(tokenizer, SimpleTokenizer):
        tokenizer.tokenizer.split_special_tokens = True
        return
    special = re.compile("|".join(re.escape(tokenizer.decoder[token]) for token in tokenizer.all_special_ids), re.I)
    clean = tokenizer.clean_fn

    # Behind the cleaning, which resolves HTML entities. The space changes no other token: words end at "<" anyway.
    def clean_and_split(text: str) -> str:
        return special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", clean(text))

    tokenizer.clean_fn = clean_and_split
