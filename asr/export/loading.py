"""How an exported folder is loaded, in few lines, for its README."""

from __future__ import annotations

from pathlib import Path

from asr.config.model import EncoderDecoderConfig
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.loaded_model import LoadedModel

_ONNX = """\
With onnxruntime, from the waveform (batches of any size; `samples` are the lengths):

```python
import onnxruntime, soundfile
session = onnxruntime.InferenceSession("FOLDER/waveform.onnx")
wave, rate_hz = soundfile.read("speech.wav", dtype="float32")  # {rate_hz} Hz, one channel
log_probs, frames = session.run(None, {{"waveforms": wave[None], "samples": [len(wave)]}})
best = log_probs[0, : frames[0]].argmax(-1)  # CTC: merge repeats, then drop 0; names are in tokens.txt
```

`model.onnx` takes `features` ({features}) and `lengths`
instead; all graphs share `weights.bin`. Give utterances of up to {max_seconds:g} s, which it was trained with;
cut longer audio."""
_SHERPA = """\

With sherpa-onnx, by its recogniser of Moonshine models, which hands the waveform to the graph as it is: the
text is that of `asr transcribe`, without times.

```python
import sherpa_onnx, soundfile
recogniser = sherpa_onnx.OfflineRecognizer.from_moonshine(
    preprocessor="FOLDER/moonshine_preprocessor.onnx",
    encoder="FOLDER/moonshine_encoder.onnx",
    uncached_decoder="FOLDER/moonshine_decoder.onnx",
    cached_decoder="FOLDER/moonshine_decoder.onnx",
    tokens="FOLDER/moonshine_tokens.txt",
)
wave, rate_hz = soundfile.read("speech.wav", dtype="float32")
stream = recogniser.create_stream()
stream.accept_waveform(rate_hz, wave)
recogniser.decode_stream(stream)
print(" ".join(stream.result.text.split()))
```

With times of the tokens, by its recogniser of CTC models:

```python
recogniser = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc("FOLDER/sherpa.onnx", "FOLDER/tokens.txt")
```

That one takes the mean off a waveform before the graph sees it. {mean}"""
_MEAN_HEARD = """\
This model hears the mean (a constant offset of a
recording) in its lowest bands: a text may differ where the model is unsure."""
_MEAN_NOT_HEARD = "This model's own features do the same, so that texts are equal."
_TORCH = """\
```python
import soundfile, torch
program = torch.export.load("FOLDER/waveform.pt2").module()
wave, rate_hz = soundfile.read("speech.wav", dtype="float32")  # {rate_hz} Hz, one channel
log_probs, frames = program(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
best = log_probs[0, : frames[0]].argmax(-1)  # CTC: merge repeats, then drop 0; names are in tokens.txt
```

`model.pt2` takes `features` ({features}) and `lengths` instead. Give utterances of up to {max_seconds:g} s."""
_OURS = """\
```python
import asr
model = asr.load_model("FOLDER"{student})
print(asr.transcribe(model, "speech.wav").text)
```"""
_TRANSFORMERS = """\
```python
from transformers import pipeline
recogniser = pipeline("automatic-speech-recognition", "FOLDER")
print(recogniser("speech.wav")["text"])
```"""
_CTRANSLATE = """\

With faster-whisper, after

```sh
ct2-transformers-converter --model FOLDER --output_dir CT2 \\
    --copy_files tokenizer.json preprocessor_config.json
```

```python
import numpy, soundfile
from faster_whisper import WhisperModel
model = WhisperModel("CT2")
wave, rate_hz = soundfile.read("speech.wav", dtype="float32")  # 16000 Hz, one channel
wave = numpy.pad(wave, (0, max(0, 30 * rate_hz - len(wave))))
segments, _ = model.transcribe(wave, {options})
print(" ".join(segment.text.strip() for segment in segments))
```

The silence behind the speech is there since faster-whisper fills its window of 30 s with features that are no
silence, which changes texts.{window}"""
_OTHER_WINDOW = """ `asr transcribe` writes within windows of {seconds:g} s here
(`model.generation_window_seconds`), so that texts may differ still."""
_FASTER_WHISPER_SECONDS = 30.0


def how_to_load(model: LoadedModel, target: str, place: Path) -> str:
    """Markdown; FOLDER stands for where the exported folder is."""
    config = model.config
    values = {
        "rate_hz": config.features.sample_rate_hz,
        "features": "waveforms of zero mean and unit variance, and their samples"
        if model.front_end.width is None
        else f"log-mel features of {model.front_end.width} numbers, as asr.model.features has them",
        "max_seconds": min(
            config.corpus.max_seconds, model.front_end.longest_seconds or float("inf")
        ),
    }
    if target == "torch":
        return _TORCH.format(**values)
    if target == "onnx":
        text = _ONNX.format(**values)
        if (place / "sherpa.onnx").is_file():
            mean = _MEAN_NOT_HEARD if getattr(model.front_end, "normalises", False) else _MEAN_HEARD
            text += "\n" + _SHERPA.format(mean=mean)
        return text
    if not (place / "preprocessor_config.json").is_file():
        is_student = not (place / "teacher.safetensors").is_file()
        return _OURS.format(student=', weights="student"' if is_student else "")
    return _TRANSFORMERS + _by_faster_whisper(model)


def _by_faster_whisper(model: LoadedModel) -> str:
    """Empty of other families. Options are those of our own decoding."""
    network, config = model.network, model.config.model
    family = getattr(getattr(network.encoder, "config", None), "model_type", None)
    if not isinstance(network, EncoderDecoder) or family != "whisper":
        return ""
    options: dict[str, object] = {
        "beam_size": 1,
        "without_timestamps": True,
        "condition_on_previous_text": False,
    }
    if not network.generation_settings.get("suppress_tokens"):
        options["suppress_tokens"] = []
    assert isinstance(config, EncoderDecoderConfig)
    if config.language:
        options["language"] = config.language
    written = ", ".join(f"{name}={value!r}" for name, value in options.items())
    seconds = config.least_read_seconds
    is_other = seconds != _FASTER_WHISPER_SECONDS
    window = _OTHER_WINDOW.format(seconds=seconds) if is_other else ""
    return "\n" + _CTRANSLATE.format(options=written, window=window)
