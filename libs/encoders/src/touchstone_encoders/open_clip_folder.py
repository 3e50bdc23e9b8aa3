"""What a folder of open_clip may ask for: nothing that does not lie in it.

Its configuration can name further repositories of a hub, which open_clip would fetch, unpinned, and ask on the terminal
whether to run their code."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from touchstone_contracts.problems import Invalid

from touchstone_encoders.copy_descriptor import ARCHITECTURE

CONFIGURATION = "open_clip_config.json"


def tokenizer_settings(location: str, folder: Path) -> Mapping[str, Any]:
    """For open_clip.get_tokenizer. Raises Invalid where the configuration names a model elsewhere; OSError, ValueError
    or KeyError where it is none."""
    model = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))["model_cfg"]
    text, vision = model["text_cfg"], model["vision_cfg"]
    text_tower, image_tower = text.get("hf_model_name"), vision.get("timm_model_name", "")
    if text_tower or not re.match(ARCHITECTURE, image_tower or "none"):
        raise Invalid(
            f"{location} takes a tower from {text_tower or image_tower!r}, which is not part of it: "
            "name a complete model",
            code="encoder_unloadable",
        )
    # What the configuration says of this counts for less than what is said here.
    return {"trust_remote_code": False, "local_files_only": True} if text.get("hf_tokenizer_name") else {}
