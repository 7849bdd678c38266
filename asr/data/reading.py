"""The audio of cuts, or their stored features: all of them, or what of them can still be read.

Shape suffixes: B utterances, N samples, T feature frames, F mel bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import torch
from lhotse import MonoCut, Recording
from lhotse.utils import fastcopy, perturb_num_samples
from numpy.typing import NDArray
from torch import Tensor

from asr.data.audio_parts import EXACT, is_part, load_part
from asr.data.manifest.admission import by_content
from asr.data.sound.decoder_notes import folded
from asr.data.sound.resampling import is_simple, resample
from asr.errors import LostAudioError, UserError
from asr.utils.faults import first_line
from asr.utils.hashes import file_sha256
from asr.utils.text_files import refuse_pipe

FEATURES_SHA256 = "features_sha256"
"""What a cut says of the file of its stored features; older manifests do not."""
_SILENT_SAMPLES = 16_000
_MOST_MISSING_SECONDS = 0.01
"""By which headers of others, and rounding, may be wrong."""


def load_samples(cut: MonoCut, speed: float = 1.0) -> NDArray[np.float32]:
    """Samples (1, N) of a cut. Raises LostAudioError, naming the file, for what cannot be read any more."""
    try:
        with folded(_file_of(cut)):
            audio_1N = _samples(cut, speed)
    except UserError as error:
        raise LostAudioError(f"{error.what} (utterance '{cut.id}')", error.remedy) from None
    except Exception as error:  # lhotse raises a dozen kinds, depending on the backend
        raise LostAudioError(
            f"{_file_of(cut)} (utterance '{cut.id}'): cannot be read any more: {_why(cut, error)}",
            "restore the file",
        ) from error
    if not np.isfinite(audio_1N).all():
        raise LostAudioError(
            f"{_file_of(cut)} (utterance '{cut.id}'): holds NaN or infinite samples",
            "restore the file",
        )
    return audio_1N


def load_waveforms(
    cuts: Sequence[MonoCut], speeds: Sequence[float] | None = None
) -> tuple[Tensor, Tensor]:
    """Waveforms (B, N), fp32, zero-padded, and their lengths (B,) in samples. Raises as `load_samples`."""
    speeds = speeds or [1.0] * len(cuts)
    return padded([load_samples(cut, speed)[0] for cut, speed in zip(cuts, speeds, strict=True)])


def refuse_pipes(cut: MonoCut) -> None:
    """Raises OSError where a file of its recording is a pipe."""
    for source in cut.recording.sources if cut.has_recording else []:
        if source.type == "file":
            refuse_pipe(Path(source.source))


def load_features(cut: MonoCut) -> NDArray[np.float32]:
    """Stored features (T, F). Raises LostAudioError for what cannot be read, and UserError for none."""
    if not cut.has_features:
        raise UserError(
            f"utterance '{cut.id}' has no precomputed features",
            "run `asr prepare features --data DIR --sets SET --recipe RECIPE` and name SET.features, or set "
            "features.source=waveform",
        )
    stored = cut.features
    where = Path(stored.storage_path) / stored.storage_key
    expected = (cut.custom or {}).get(FEATURES_SHA256)
    try:
        refuse_pipe(where)
        if expected is not None and file_sha256(where) != expected:
            raise ValueError("SHA-256 is not that of its manifest")
        found_TF = np.array(cut.load_features(), dtype=np.float32)
        if found_TF.shape != (stored.num_frames, stored.num_features):
            raise ValueError(f"they are of shape {found_TF.shape}")
        if not np.isfinite(found_TF).all():
            raise ValueError("they hold NaN or infinite values")
    except Exception as error:  # numpy and lilcom each have their own
        raise LostAudioError(
            f"{where} (features of utterance '{cut.id}'): cannot be read any more: {first_line(error)}",
            "run `asr prepare features` again, which makes what is lost",
        ) from error
    return found_TF


def resampled_in_memory(cut: MonoCut, rate_hz: int) -> MonoCut:
    """A cut at another rate, for rates with which Lhotse would take gigabytes."""
    content = BytesIO()
    samples_N = resample(load_samples(cut)[0], cut.sampling_rate, rate_hz)
    soundfile.write(content, samples_N, rate_hz, format="WAV", subtype="FLOAT")
    recording = Recording.from_bytes(content.getvalue(), cut.id)
    made: MonoCut = fastcopy(
        cut, start=0.0, duration=recording.duration, channel=0, recording=recording
    )
    return made


@dataclass(frozen=True)
class Readable:
    """What of some utterances can be read."""

    kept: list[int]
    """Which of them, by their places among them. Where there are none, silence stands below."""
    waveforms_BN: Tensor
    samples_B: Tensor
    lost: dict[int, LostAudioError]
    """The others."""

    @classmethod
    def of(cls, cuts: Sequence[MonoCut], places: Sequence[int]) -> Readable:
        """Of the cuts at these places."""
        waveforms, kept, lost = [], list[int](), dict[int, LostAudioError]()
        for number, place in enumerate(places):
            try:
                waveforms.append(load_samples(cuts[place])[0])
                kept.append(number)
            except LostAudioError as error:
                lost[number] = error
        return cls(kept, *padded(waveforms or [np.zeros(_SILENT_SAMPLES, np.float32)]), lost)


def padded(parts: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Arrays of some lengths as one, zero-padded, and their lengths (B,)."""
    tensors = [torch.from_numpy(np.ascontiguousarray(one, dtype=np.float32)) for one in parts]
    lengths_B = torch.tensor([len(one) for one in tensors])
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), lengths_B


def _samples(cut: MonoCut, speed: float) -> NDArray[np.float32]:
    refuse_pipes(cut)
    rate_hz = cut.sampling_rate
    faster_hz = round(rate_hz * speed)
    if is_part(cut):
        return resample(load_part(cut)[None], faster_hz, rate_hz)
    is_lhotses = speed == 1.0 or is_simple(faster_hz, rate_hz)
    plain_1N = _plain(cut)
    if plain_1N is not None:
        made_1N = resample(plain_1N, faster_hz, rate_hz)
        samples = perturb_num_samples(plain_1N.shape[1], speed) if is_lhotses else None
        if samples is None or made_1N.shape[1] >= samples:
            return made_1N[:, :samples]
    with by_content():
        audio_1N: NDArray[np.float32] = (
            cut.perturb_speed(speed) if is_lhotses and speed != 1.0 else cut
        ).load_audio()
    return audio_1N if is_lhotses else resample(audio_1N, faster_hz, rate_hz)


def _file_of(cut: MonoCut) -> str:
    if not cut.has_recording:
        return "no recording"
    source = cut.recording.sources[0]
    return str(source.source) if source.type == "file" else "a shard"


def _plain(cut: MonoCut) -> NDArray[np.float32] | None:
    """(1, N) of a cut, which is no part, if it is a file of one channel; None where Lhotse has more to do.

    Raises ValueError for a file that is not the recording that its manifest knew: Lhotse would mirror up to
    half a second of what has been cut off.
    """
    recording = cut.recording
    if recording.sources[0].type != "file" or recording.transforms:
        return None
    with soundfile.SoundFile(recording.sources[0].source) as there:
        _check_file(recording, there)
        if there.channels > 1 or len(recording.sources) > 1:
            return None
        found_N: NDArray[np.float32] = there.read(dtype="float32")
    return found_N[None] if len(found_N) == recording.num_samples else None


def _check_file(recording: Recording, there: soundfile.SoundFile) -> None:
    wrong = abs(there.frames - recording.num_samples) > _MOST_MISSING_SECONDS * there.samplerate
    if there.samplerate != recording.sampling_rate or (wrong and there.format in EXACT):
        raise ValueError(
            f"it has {there.frames} samples at {there.samplerate} Hz, and its manifest says "
            f"{recording.num_samples} at {recording.sampling_rate}"
        )


def _why(cut: MonoCut, error: Exception) -> str:
    source = cut.recording.sources[0] if cut.has_recording else None
    is_gone = source is not None and source.type == "file" and not Path(source.source).exists()
    return "no such file" if is_gone else first_line(error)
