"""Command line: a published ISC21 checkpoint (isc_ft_v107.pth.tar) as a folder of the library, without pickles.

Prints the encoder's catalogue entry. The checkpoint is read without running anything that it may hold."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
from pydantic import ValidationError
from touchstone_contracts.catalogue import Catalogue, Encoder
from touchstone_contracts.problems import Invalid
from touchstone_runtime.digests import folder_digest

from touchstone_encoders.copy_descriptor import CopyDescriptor, DescriptorSettings, write_descriptor

RENAMED = {"tf_efficientnetv2_m_in21ft1k": "tf_efficientnetv2_m.in21k_ft_in1k"}
"""Architectures that timm has renamed since."""


def convert(checkpoint: Path, folder: Path) -> DescriptorSettings:
    """Raises Invalid where `checkpoint` is none of ISC21's."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
        weights = {name.removeprefix("module."): value for name, value in stored["state_dict"].items()}
        architecture = RENAMED.get(stored["arch"], stored["arch"])
        preprocessing: Any = timm.get_pretrained_cfg(architecture, allow_unregistered=False)
        settings = DescriptorSettings(
            architecture=architecture,
            dimension=len(weights["fc.weight"]),
            image_size=stored["args"].input_size,
            mean=preprocessing.mean,
            std=preprocessing.std,
        )
        network = CopyDescriptor(settings)
        network.load_state_dict(weights)
    except (OSError, RuntimeError, UnpicklingError, KeyError, AttributeError, TypeError, ValidationError) as error:
        raise Invalid(f"{checkpoint} is no checkpoint of ISC21: {error}", code="encoder_unloadable") from error
    write_descriptor(folder, network, settings)
    return settings


def main(arguments: Sequence[str] | None = None) -> None:
    command = argparse.ArgumentParser(prog="python -m touchstone_encoders.convert_descriptor", description=__doc__)
    command.add_argument("checkpoint", type=Path)
    command.add_argument("library", type=Path, help="the workers' library folder")
    command.add_argument("--name", default="isc-ft-v107", help="of the encoder; its folder is models/<name>")
    options = command.parse_args(arguments)
    folder = options.library / "models" / options.name
    try:
        convert(options.checkpoint, folder)
    except Invalid as problem:
        sys.exit(f"{problem.code}: {problem.detail}")
    entry = Encoder(
        name=options.name,
        model=f"library:models/{options.name}",
        digest=folder_digest(folder),
        kind="copy_descriptor",
        description="ISC21 copy descriptor",
    )
    print(Catalogue(encoders=(entry,)).model_dump_json(indent=1, exclude_defaults=True))


if __name__ == "__main__":
    main()
