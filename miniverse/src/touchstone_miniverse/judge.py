"""Command line around evaluation.py: `judge encoder <folder>` and `judge generator <folder> --by <encoder folder>`."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from touchstone_miniverse.evaluation import grid, load_judge, load_pipeline, read_targets, recognised, zero_shot


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a table of accuracies to standard output."""
    home = Path(__file__).parents[2]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("encoder", "generator"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--by", type=Path, default=home / "models" / "mini-clip", help="the judging encoder")
    parser.add_argument("--home", type=Path, default=home)
    parser.add_argument("--per-class", type=int, default=1)
    parser.add_argument("--targets", nargs="*", help="only these targets")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets of generated pictures")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    lines = _judge_encoder(options) if options.what == "encoder" else _judge_generator(options)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _judge_encoder(options: argparse.Namespace) -> list[str]:
    table = zero_shot(load_judge(options.folder), options.home)
    return [f"{name:10} test {row['test']:.3f} validation {row['validation']:.3f}" for name, row in table.items()]


def _judge_generator(options: argparse.Namespace) -> list[str]:
    judge, pipeline = load_judge(options.by), load_pipeline(options.folder)
    lines = []
    for target in read_targets(options.home):
        if options.targets and target["name"] not in options.targets:
            continue
        began = time.monotonic()
        share, images = recognised(judge, pipeline, target, options.per_class)
        rate = len(images) / (time.monotonic() - began)
        lines.append(f"{target['name']:10} recognised {share:.3f} of {len(images)} ({rate:.1f} images/s)")
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
            grid(images[:240], 20).save(options.sheets / f"{target['name']}.png")
    return lines


if __name__ == "__main__":
    main()
