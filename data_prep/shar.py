"""Prepared sets as Lhotse Shar: some thousand utterances a tar, for file systems that dislike small files.

OUT/NAME.shar/cuts.NNNNNN.jsonl.gz and recording.NNNNNN.tar; `corpus.labelled: [NAME.shar]` trains on them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import shutil
import urllib.parse
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import soundfile
from tqdm import tqdm

from asr.data.manifest.shar import ADDRESS, SHAR_SUFFIX, audio_places, places_file, with_checks
from asr.errors import UserError
from asr.utils.faults import first_line
from asr.utils.files import read_json, write_json
from asr.utils.signals import begin_worker

from .contents import folder_to_ourselves

_STAMP = "shar.json"


def prepare_shar(
    data: Path,
    sets: list[str],
    output: Path,
    shard_size: int,
    audio_format: str,
    jobs: int,
    address: str | None = None,
) -> None:
    """Write each set as shards; a set that is there is left alone.

    `address` is where OUT will be served from; training then needs all but the tars.

    Restartable and atomic: finished shards of an interrupted call are kept, and the folder gets its name when
    all are there. Raises UserError for a set that is not prepared or audio that cannot be read.
    """
    if address is not None and not address.startswith(("http://", "https://")):
        raise UserError(f"--url {address} is no address", "it must begin with http:// or https://")
    for name in sets:
        target = output / f"{name}{SHAR_SUFFIX}"
        _write_set(data / f"{name}.jsonl.gz", target, shard_size, audio_format, jobs)
        if address is not None:
            where = f"{address.rstrip('/')}/{urllib.parse.quote(target.name)}\n"
            (target / ADDRESS).write_text(where, encoding="utf-8")
        references = data / "references" / f"{name}.tsv"
        if references.is_file() and output.resolve() != data.resolve():
            (output / "references").mkdir(exist_ok=True)
            shutil.copyfile(references, output / "references" / references.name)


def _write_set(manifest: Path, target: Path, shard_size: int, audio_format: str, jobs: int) -> None:
    from asr.data.manifest.index import open_index

    if target.stem.endswith(SHAR_SUFFIX):
        raise UserError(
            f"--sets {target.stem}: is in shards already", "name the set that it was made of"
        )
    index = open_index(manifest)
    count = len(index)
    with index.lines.open("rb") as lines:
        of_the_lines = hashlib.file_digest(lines, "sha256").hexdigest()
    stamp = {
        "utterances": count,
        "sha256": of_the_lines,
        "shard_size": shard_size,
        "format": audio_format,
    }
    if target.is_dir():
        made = target / _STAMP
        if made.is_file() and _read_stamp(made) != stamp:
            raise UserError(
                f"{target}: was made of other utterances or transcripts, or in another way",
                "delete it to make it again",
            )
        _mend(manifest, target, count, shard_size, audio_format, jobs)
        return
    mark = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:12]
    partial_folder = target.with_name(f".{target.name}.partial-{mark}")
    with folder_to_ourselves(partial_folder):
        _write_shards(manifest, partial_folder, count, shard_size, audio_format, jobs)
        write_json(partial_folder / _STAMP, stamp)
        partial_folder.rename(target)
    print(f"{target}: {count} utterances in {math.ceil(count / shard_size)} shards")


def _mend(
    manifest: Path, target: Path, count: int, shard_size: int, audio_format: str, jobs: int
) -> None:
    """Make the shards again that are lost or damaged."""
    shards = range(math.ceil(count / shard_size))
    damaged = [number for number in shards if not _is_whole(target, number)]
    if not damaged:
        print(f"{target}: already there, nothing to do")
        return
    with folder_to_ourselves(target):
        for number in damaged:
            _cuts_file(target, number).unlink(missing_ok=True)
        print(f"{target}: {len(damaged)} of {len(shards)} shards are lost or damaged: made again")
        _write_shards(manifest, target, count, shard_size, audio_format, jobs)
        (target / _STAMP).touch()


def _is_whole(folder: Path, number: int) -> bool:
    """Whether all of a shard is there: what has changed since is read."""
    tar = folder / f"recording.{number:06d}.tar"
    files = [_cuts_file(folder, number), tar, places_file(tar)]
    if (folder / ADDRESS).is_file() and not tar.is_file():  # it is elsewhere
        files.remove(tar)
    try:
        states = [path.stat() for path in files]
        places = read_json(files[-1])
        with gzip.open(files[0]) as lines:
            names = {json.loads(line)["id"] for line in lines}
        if names != {*places}:
            return False
        if tar not in files or max(one.st_mtime_ns for one in states) <= (
            (folder / _STAMP).stat().st_mtime_ns
        ):
            return tar not in files or audio_places(tar).keys() == names
        content = tar.read_bytes()
        for begin, length in places.values():
            soundfile.read(BytesIO(content[begin : begin + length]))
    except (OSError, EOFError, zlib.error, ValueError, LookupError, AttributeError, TypeError):
        return False
    except soundfile.SoundFileError:
        return False
    return True


def _write_shards(
    manifest: Path,
    partial_folder: Path,
    count: int,
    shard_size: int,
    audio_format: str,
    jobs: int,
) -> None:
    starts = range(0, count, shard_size)
    todo = [s for s in starts if not _cuts_file(partial_folder, s // shard_size).is_file()]
    if len(todo) < len(starts):
        print(f"continuing: {len(starts) - len(todo)} of {len(starts)} shards are there")
    write = partial(_write_shard, manifest, partial_folder, shard_size, audio_format)
    with ProcessPoolExecutor(max(1, jobs), get_context("spawn"), begin_worker) as pool:
        bar = tqdm(pool.map(write, todo), f"shards of {manifest.name}", len(todo), disable=None)
        for fault in bar:
            if fault:
                pool.shutdown(cancel_futures=True)
                raise fault


def _read_stamp(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def _cuts_file(folder: Path, number: int) -> Path:
    return folder / f"cuts.{number:06d}.jsonl.gz"


def _write_shard(
    manifest: Path, folder: Path, shard_size: int, audio_format: str, start: int
) -> UserError | None:
    """One shard, in a process of its own; the message of what is wrong with it, or None."""
    from lhotse.shar import SharWriter

    from asr.data.audio_parts import in_memory, is_part
    from asr.data.dataset import SpeechSet
    from asr.data.manifest.admission import by_content

    speech = SpeechSet.load(manifest)
    number = start // shard_size
    scratch = folder / f"shard-{number:06d}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        with (
            by_content(),
            SharWriter(
                scratch, {"recording": audio_format}, shard_size, shard_offset=number
            ) as writer,
        ):
            for cut in speech.cuts[start : start + shard_size]:
                writer.write(in_memory(cut) if is_part(cut) else cut)
    except OSError as error:
        where = error.filename or scratch
        return UserError(
            f"{where}: {error.strerror or error}", "mend that, and run the same command"
        )
    except Exception as error:  # lhotse raises a dozen kinds, depending on the backend
        return UserError(
            f"{manifest}, shard {number}: {first_line(error)}", "run `asr prepare` again"
        )
    [tar] = scratch.glob("recording.*.tar")
    write_json(places_file(tar), with_checks(tar, audio_places(tar)))
    # The cuts come last: they say that the shard is complete.
    for path in _audio_first(scratch):
        path.rename(folder / path.name)
    scratch.rmdir()
    return None


def _audio_first(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.iterdir(), key=lambda path: path.name.startswith("cuts."))
