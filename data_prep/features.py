"""Log-mel features on disk, for training with features.source=precomputed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from asr.config.features import FeatureConfig
from asr.config.recipe import load_config
from asr.errors import UserError
from asr.utils.files import write_json

from . import manifests

if TYPE_CHECKING:
    from lhotse import MonoCut


def prepare_features(data: Path, sets: list[str], recipe: Path | None = None) -> None:
    """Store features of each set; DATA/<set>.features.jsonl.gz holds the cuts with them attached.

    `cut.load_features()` then gives what `asr.model.features.LogMel` computes from the waveform, (T, F)
    in fp32. Settings are those of the recipe's section `features`, else the defaults. Cuts shorter
    than one window have no frame; they are left out, and their number is printed. Raises UserError
    for a set that is not prepared.
    """
    config = load_config(recipe).features if recipe is not None else FeatureConfig()
    for name in sets:
        _prepare_set(data, name, config)


def _prepare_set(data: Path, name: str, config: FeatureConfig) -> None:
    manifest, target = data / f"{name}.jsonl.gz", data / f"{name}.features.jsonl.gz"
    from asr.data.dataset import SpeechSet  # imports torch

    cuts = SpeechSet.load(manifest).cuts  # a line at a time: a million in memory are gigabytes
    digest = hashlib.sha256(manifest.read_bytes() + config.model_dump_json().encode()).hexdigest()
    storage = data / "features" / name
    mark = storage / "features.json"
    if target.is_file() and _stored_digest(mark) == digest and _mended(target, mark, config):
        return
    # The manifest goes first: it must never lead to features of other cuts.
    target.unlink(missing_ok=True)
    shutil.rmtree(storage, ignore_errors=True)
    storage.mkdir(parents=True)
    total = len(cuts)
    counted = _Counted(_attach(cuts, total, name, storage, config))
    manifests.write_cuts(target, counted)
    write_json(mark, {"digest": digest, "features": config.model_dump(mode="json")})
    short = total - counted.count
    note = f"; {short} shorter than one window left out" if short else ""
    print(f"{target}: {counted.count} cuts{note}")


class _Counted:
    """Cuts as they pass."""

    def __init__(self, cuts: Iterator[MonoCut]) -> None:
        self._cuts, self.count = cuts, 0

    def __iter__(self) -> Iterator[MonoCut]:
        for cut in self._cuts:
            self.count += 1
            yield cut


def _mended(target: Path, mark: Path, config: FeatureConfig) -> bool:
    """Compute again what is lost or has changed since; False where the manifest is damaged, too."""
    import numpy as np
    import torch

    from asr.data.dataset import SpeechSet
    from asr.data.reading import load_samples
    from asr.model.features import LogMel
    from asr.utils.files import replacing

    try:
        speech = SpeechSet.load(target)
    except UserError:
        return False
    log_mel, since, count = LogMel(config), mark.stat().st_mtime_ns, 0
    for cut in speech.cuts:
        path = Path(cut.features.storage_path) / cut.features.storage_key
        if _is_as_made(path, (cut.features.num_frames, cut.features.num_features), since):
            continue
        waveform = torch.from_numpy(load_samples(cut))
        features, frames = log_mel(waveform, torch.tensor([waveform.shape[1]]))
        with replacing(path) as file:
            np.save(file, features[0, : int(frames[0])].numpy())
        count += 1
    if count:
        os.utime(mark)
        print(
            f"{target}: features of {count} of {len(speech)} cuts were lost or changed: made again"
        )
    else:
        print(f"{target}: already computed from the same cuts and settings, nothing to do")
    return True


def _is_as_made(path: Path, shape: tuple[int, int], since_ns: int) -> bool:
    import numpy as np

    try:
        stored = np.load(path, mmap_mode="r")
        return bool(stored.shape == shape and path.stat().st_mtime_ns <= since_ns)
    except (OSError, EOFError, ValueError):
        return False


def _stored_digest(mark: Path) -> str | None:
    try:
        return str(json.loads(mark.read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError):
        return None


def _attach(
    cuts: Sequence[MonoCut], total: int, name: str, storage: Path, config: FeatureConfig
) -> Iterator[MonoCut]:
    import torch
    from lhotse import Features, NumpyFilesWriter
    from lhotse.utils import fastcopy

    from asr.data.reading import FEATURES_SHA256, load_samples
    from asr.model.features import LogMel

    log_mel = LogMel(config)
    writer = NumpyFilesWriter(os.path.abspath(storage))
    for index, cut in enumerate(tqdm(cuts, f"features of {name}", total, disable=None)):
        if cut.sampling_rate != config.sample_rate_hz:
            raise UserError(
                f"cut {cut.id} has {cut.sampling_rate} Hz, but features.sample_rate_hz is "
                f"{config.sample_rate_hz}",
                "set it to the audio's rate, or prepare again: preparation makes 16000",
            )
        waveform = torch.from_numpy(load_samples(cut))
        features, frames = log_mel(waveform, torch.tensor([waveform.shape[1]]))
        count = int(frames[0])
        if count == 0:
            continue
        # An index names the file: ids may hold '/', and Lhotse makes folders of the first digits.
        key = writer.write(f"{index:06d}", features[0, :count].numpy())
        stored = (Path(writer.storage_path) / key).read_bytes()
        shift = config.hop_ms / 1000
        yield fastcopy(
            cut,
            custom={**(cut.custom or {}), FEATURES_SHA256: hashlib.sha256(stored).hexdigest()},
            features=Features(
                type="log-mel",
                num_frames=count,
                num_features=config.mel_bins,
                frame_shift=shift,
                sampling_rate=cut.sampling_rate,
                start=cut.start,
                # Frames are not padded, so they end before the audio does; Lhotse derives one
                # from the other.
                duration=round(count * shift, 6),
                storage_type=writer.name,
                storage_path=writer.storage_path,
                storage_key=key,
                recording_id=cut.recording.id,
                channels=0,
            ),
        )
