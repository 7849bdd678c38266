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
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import soundfile
from tqdm import tqdm

from asr.config.store import StoreConfig
from asr.data.manifest.shar import (
    ADDRESS,
    SHAR_SUFFIX,
    address_of,
    audio_places,
    cuts_file,
    is_in_store,
    places_file,
    tar_file,
    with_checks,
)
from asr.data.store.addresses import checked
from asr.errors import UserError
from asr.utils.faults import first_line
from asr.utils.files import copy_file, read_json, write_json, write_text
from asr.utils.signals import begin_worker
from asr.utils.text_files import refuse_own_pipe

from ..contents import folder_to_ourselves
from .upload import Upload, writable

_STAMP = "shar.json"
_STORE = StoreConfig()


@dataclass(frozen=True)
class _Making:
    """Of the shards of one set."""

    manifest: Path
    shard_size: int
    audio_format: str
    jobs: int
    upload: Upload | None
    """Where they are sent; None for nowhere."""

    def stamp(self) -> dict[str, Any]:
        """What they are made of, and how. Raises UserError for a set that is not prepared."""
        from asr.data.manifest.index import open_index

        index = open_index(self.manifest)
        with index.lines.open("rb") as lines:
            of_the_lines = hashlib.file_digest(lines, "sha256").hexdigest()
        return {
            "utterances": len(index),
            "sha256": of_the_lines,
            "shard_size": self.shard_size,
            "format": self.audio_format,
        }


def prepare_shar(
    data: Path,
    sets: list[str],
    output: Path | str,
    shard_size: int,
    audio_format: str,
    jobs: int,
    address: str | None = None,
    store: StoreConfig = _STORE,
) -> None:
    """Write each set as shards; a set that is there is left alone.

    `address` is where OUT will be served from; training then needs all but the tars. An `output` that is an
    address gets the shards itself, and what training needs besides stays in `data`.

    Restartable and atomic: finished shards of an interrupted call are kept, and the folder gets its name when
    all are there. Raises UserError for a set that is not prepared or audio that cannot be read.
    """
    is_sent = isinstance(output, str)
    if address is not None:
        address = checked(address, "--url")
    if isinstance(output, str):
        address, output = writable(output), data
    for name in sets:
        target = output / f"{name}{SHAR_SUFFIX}"
        where, upload = None, None
        if address is not None:
            is_web = address.startswith("http")
            where = f"{address}/{urllib.parse.quote(target.name) if is_web else target.name}"
        if is_sent and where is not None:
            upload = Upload(where, store, keeps_tars=_keeps_tars(target))
        making = _Making(data / f"{name}.jsonl.gz", shard_size, audio_format, jobs, upload)
        _write_set(making, target)
        if where is not None and address_of(target) != where:
            write_text(target / ADDRESS, f"{where}\n")
        references = data / "references" / f"{name}.tsv"
        if references.is_file() and output.resolve() != data.resolve():
            (output / "references").mkdir(exist_ok=True)
            copy_file(references, output / "references" / references.name)


def _keeps_tars(target: Path) -> bool:
    """Whether shards were made here before any was sent: then they stay, and a file says so from then on."""
    note = target / ".keeps-tars"
    was_sent = is_in_store(target) or any(target.glob("sent.*.json"))
    if not was_sent and any(target.glob("recording.*.tar")):
        note.touch()
    return note.exists()


def _write_set(making: _Making, target: Path) -> None:
    if target.stem.endswith(SHAR_SUFFIX):
        raise UserError(
            f"--sets {target.stem}: is in shards already", "name the set that it was made of"
        )
    stamp, upload = making.stamp(), making.upload
    shards = range(math.ceil(stamp["utterances"] / making.shard_size))
    if target.is_dir():
        made = target / _STAMP
        if made.is_file() and _read_stamp(made) != stamp:
            raise UserError(
                f"{target}: was made of other utterances or transcripts, or in another way",
                "delete it to make it again",
            )
        _mend(making, target, shards)
        return
    mark = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:12]
    partial_folder = target.with_name(f".{target.name}.partial-{mark}")
    with folder_to_ourselves(partial_folder):
        _write_shards(making, partial_folder, shards)
        write_json(partial_folder / _STAMP, stamp)
        if upload is not None:
            upload.send_file(partial_folder / _STAMP)
            write_text(partial_folder / ADDRESS, f"{upload.address}\n")
        partial_folder.rename(target)
    where = f", their tars in {upload.address}" if upload else ""
    print(f"{target}: {stamp['utterances']} utterances in {len(shards)} shards{where}")


def _mend(making: _Making, target: Path, shards: range) -> None:
    """Make the shards again that are lost or damaged, and send those that are not sent."""
    upload = making.upload
    damaged = [number for number in shards if not _is_whole(target, number)]
    if upload is not None:
        there = upload.there()
        unsent = [number for number in shards if not upload.is_sent(target, number, there)]
        damaged += [number for number in unsent if not tar_file(target, number).is_file()]
    if not damaged and not (upload and unsent):
        print(f"{target}: already there, nothing to do")
        return
    with folder_to_ourselves(target):
        for number in damaged:
            cuts_file(target, number).unlink(missing_ok=True)
        if damaged:
            count = len(set(damaged))
            print(f"{target}: {count} of {len(shards)} shards are lost or damaged: made again")
        _write_shards(making, target, shards)
        (target / _STAMP).touch()
        if upload is not None:
            upload.send_file(target / _STAMP)


def _is_whole(folder: Path, number: int) -> bool:
    """Whether all of a shard is there: what has changed since is read."""
    tar = tar_file(folder, number)
    files = [cuts_file(folder, number), tar, places_file(tar)]
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
        for begin, length, *_ in places.values():
            soundfile.read(BytesIO(content[begin : begin + length]))
    except (OSError, EOFError, zlib.error, ValueError, LookupError, AttributeError, TypeError):
        return False
    except soundfile.SoundFileError:
        return False
    return True


def _write_shards(making: _Making, folder: Path, shards: range) -> None:
    upload, name = making.upload, making.manifest.name
    there = upload.there() if upload else {}
    if upload is not None:
        upload.forget_unsent(folder, shards, there)
    todo = [
        number
        for number in shards
        if not cuts_file(folder, number).is_file()
        or (upload and not upload.is_sent(folder, number, there))
    ]
    if len(todo) < len(shards):
        print(f"continuing: {len(shards) - len(todo)} of {len(shards)} shards are there")
    write = partial(_write_and_send, making, folder)
    with ProcessPoolExecutor(max(1, making.jobs), get_context("spawn"), begin_worker) as pool:
        for fault in tqdm(pool.map(write, todo), f"shards of {name}", len(todo), disable=None):
            if fault:
                pool.shutdown(cancel_futures=True)
                raise fault
    if upload is not None:
        upload.check(folder, shards)


def _read_stamp(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def _write_and_send(making: _Making, folder: Path, number: int) -> UserError | None:
    """One shard, in a process of its own; the message of what is wrong with it, or None."""
    fault = None
    if not cuts_file(folder, number).is_file():
        fault = _write_shard(making, folder, number)
    if fault is None and making.upload is not None:
        try:
            making.upload.send(folder, number)
        except UserError as error:
            return error
        except OSError as error:
            return UserError(f"{making.upload.address}: {error}", "run the same command again")
    return fault


def _write_shard(making: _Making, folder: Path, number: int) -> UserError | None:
    from lhotse.shar import SharWriter

    from asr.data.audio_parts import in_memory, is_part
    from asr.data.dataset import SpeechSet
    from asr.data.manifest.admission import by_content

    manifest, size = making.manifest, making.shard_size
    speech, start = SpeechSet.load(manifest), number * size
    scratch = folder / f"shard-{number:06d}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        with (
            by_content(),
            SharWriter(
                scratch, {"recording": making.audio_format}, size, shard_offset=number
            ) as writer,
        ):
            for cut in speech.cuts[start : start + size]:
                for source in (one for one in cut.recording.sources if one.type == "file"):
                    refuse_own_pipe(Path(source.source))
                writer.write(in_memory(cut) if is_part(cut) else cut)
    except UserError as error:
        return error
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
