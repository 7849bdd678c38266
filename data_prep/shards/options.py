"""What `asr prepare shar` takes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

SHAR = (
    "Pack prepared sets into Lhotse Shar, some thousand utterances a tar, for file systems that dislike\n"
    "small files. A recipe names such a set NAME.shar, and draws the same batches as from single files.\n"
    "With --output s3://BUCKET/FOLDER the tars are sent there, and only what lists them stays, in DIR."
)


def _folder_or_address(text: str) -> Path | str:
    return text if "://" in text else Path(text)


def add_shar(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    """`count` reads a number of things."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder of prepared manifests"
    )
    parser.add_argument("--sets", nargs="+", required=True, metavar="NAME")
    parser.add_argument(
        "--output",
        type=_folder_or_address,
        metavar="OUT",
        help="a folder, or an address in an object store (s3://, gs://, hf://); default: DIR",
    )
    parser.add_argument("--shard-size", type=count, default=1000, metavar="N")
    parser.add_argument("--format", choices=["flac", "wav"], default="flac")
    parser.add_argument(
        "--url",
        metavar="ADDRESS",
        help="in an object store, or http(s), where you will copy OUT: the tars need not stay here",
    )
    parser.add_argument("--jobs", type=count, default=os.cpu_count() or 1, metavar="N")
