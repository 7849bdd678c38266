"""What touches tensors, by name: each a function of a device that gives values to compare with the CPU's.

The second device's tests and those of a GPU have it in common. Trainings are in device_trainings.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import LETTERS, tones
from ctc_helpers import write_ctc
from moonshine_helpers import write_moonshine
from pretrained_helpers import FAMILIES, speech, write_pretrained
from safetensors.torch import save_file
from torch import Tensor
from whisper_helpers import (
    END,
    built,
    decoder_config,
    noise_features,
    write_checkpoint,
    write_whisper,
)

import asr
from asr.config.model import LoraConfig
from asr.config.recipe import dump_config, parse_config
from asr.data.dataset import SpeechSet
from asr.data.segments import Kind, Segment
from asr.data.transcripts import training_tokenizer
from asr.decoding.generation import generate, score
from asr.decoding.generation_beam import generate_beam
from asr.decoding.reading import read
from asr.decoding.safeguards import GenerationSettings
from asr.model.criterion import Output
from asr.model.encoder_decoder.network import EncoderDecoder
from asr.model.encoders.pretrained import load_encoder
from asr.model.encoders.pretrained.lora import add_lora
from asr.model.frame_readers.reader import load_frame_reader
from asr.model.loaded_model import LoadedModel
from asr.model.make import make_model
from asr.pseudo_labels.decoders import LabelRequest, make_label_decoder
from asr.pseudo_labels.labelling.recogniser import Choice, load_recogniser
from asr.training.probing.features import labelled_frames
from asr.training.probing.network import probed, with_head
from asr.utils.devices import sent

RATE_HZ = 16_000
SAMPLES = (9_000, 16_345, 24_000)


@dataclass(frozen=True)
class Models:
    """Folders of tiny random models, written where they are first wanted."""

    root: Path
    corpus: Path

    def ours(self) -> Path:
        return self._made("ours", _write_ours)

    def ctc(self) -> Path:
        return self._made("ctc", write_ctc)

    def whisper(self) -> Path:
        return self._made("whisper", _write_brief_whisper)

    def writing(self) -> Path:
        """An encoder-decoder of ours, with a CTC head."""
        folder = self.root / "writing"
        if not folder.exists():
            write_checkpoint(folder, self.whisper(), ctc_weight=0.3)
        return folder

    def moonshine(self) -> Path:
        return self._made("moonshine", write_moonshine)

    def family(self, name: str) -> Path:
        return self._made(name, partial(write_pretrained, family=name))

    def _made(self, name: str, write: Callable[[Path], object]) -> Path:
        folder = self.root / name
        if not folder.exists():
            folder.mkdir()
            write(folder)
        return folder


def _write_brief_whisper(folder: Path) -> None:
    """One whose texts end after some tokens."""
    model = write_whisper(folder, scale=4.0)
    decoder = model.model.decoder
    with torch.no_grad():
        decoder.embed_tokens.weight[END] = 8 * decoder.layer_norm.bias
    model.save_pretrained(folder)


def _write_ours(folder: Path) -> None:
    shape = {"width": 32, "heads": 2, "layers": 2, "feed_forward_width": 64, "norm": "pre"}
    model = {**shape, "convolution_kernel": 7, "positions": "rotary", "stride": 3}
    tree = {"model": model, "tokenizer": {"characters": LETTERS}, "corpus": {"max_seconds": 8}}
    config = parse_config(tree, "test")
    tokenizer = training_tokenizer(config)
    torch.manual_seed(1)
    network = make_model(config, tokenizer.vocabulary_size)
    (folder / "config.yaml").write_text(dump_config(config))
    tokenizer.save(folder)
    # Texts that vary; with 3 a difference of 1e-6 in the features would be one of 3e-3 in the logits.
    weights = {name: 2 * weight.detach().clone() for name, weight in network.named_weights()}
    save_file(weights, folder / "teacher.safetensors")


def waveforms() -> tuple[Tensor, Tensor]:
    """(B, N) and samples (B,), on the host."""
    pieces = [torch.from_numpy(speech(count, seed)) for seed, count in enumerate(SAMPLES)]
    return torch.nn.utils.rnn.pad_sequence(pieces, True), torch.tensor(SAMPLES)


def long_audio(count: int = 60) -> tuple[np.ndarray, int]:
    """Tones, about 0.36 s a word."""
    random = np.random.default_rng(4)
    words = [
        "".join(random.choice(list(LETTERS), random.integers(1, 4))) + " " for _ in range(count)
    ]
    return tones("".join(words), random), RATE_HZ


def features_of(model: LoadedModel) -> tuple[Tensor, Tensor]:
    waveforms_BN, samples_B = waveforms()
    made: tuple[Tensor, Tensor] = model.front_end(
        sent(waveforms_BN, model.device), sent(samples_B, model.device)
    )
    return made


def writing(models: Models, device: torch.device) -> tuple[LoadedModel, EncoderDecoder]:
    model = asr.load_model(models.writing(), device=device)
    assert isinstance(model.network, EncoderDecoder)
    return model, model.network


# The cases.


def decoding(models: Models, device: torch.device) -> Any:
    """`asr decode`, an utterance longer than those of training included."""
    model = asr.load_model(models.ours(), device=device)
    utterances = asr.decode(model, models.corpus / "dev.jsonl.gz")
    audio, rate_hz = long_audio()
    long_N = torch.from_numpy(audio[: 10 * rate_hz])
    logits_BSV, frames_B = model.logits(long_N[None], torch.tensor([len(long_N)]))
    return [[one.hypothesis for one in utterances], logits_BSV, frames_B]


def beam_search(models: Models, device: torch.device) -> Any:
    pytest.importorskip("flashlight.lib.text")
    model = asr.load_model(models.ours(), device=device)
    search = asr.BeamDecoder(model.tokenizer, asr.BeamSettings(beam_size=8))
    utterances = asr.decode(model, models.corpus / "dev.jsonl.gz", search)
    talk = asr.transcribe(model, long_audio(), 4.0, 0.5, decoder=search)
    return [[one.hypothesis for one in utterances], talk.words]


def transcription(models: Models, device: torch.device) -> Any:
    model = asr.load_model(models.ours(), device=device)
    return [asr.transcribe(model, long_audio(), *one).words for one in ((4.0, 0.5), (60.0, 5.0))]


def written_transcription(models: Models, device: torch.device) -> Any:
    model, _ = writing(models, device)
    return asr.transcribe(model, long_audio(8)).words


def written_decoding(models: Models, device: torch.device) -> Any:
    model, _ = writing(models, device)
    settings = GenerationSettings(temperatures=(0.0, 0.4), max_tokens_per_second=4.0)
    utterances = asr.decode(model, models.corpus / "dev.jsonl.gz", settings)
    return [one.hypothesis for one in utterances]


def generation(models: Models, device: torch.device) -> Any:
    model, network = writing(models, device)
    features = features_of(model)
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    return [
        generate(network, *features, 9),
        generate(network, *features, [3, 0, 9], temperature=0.7, generators=generators),
        generate_beam(network, *features, 3, 6),
        score(network, *features, [[3, 4], [], [5, 6, 7]]),
    ]


def readings(models: Models, device: torch.device) -> Any:
    """What dev sets are read by: texts, and losses of references."""
    found = []
    with torch.inference_mode():
        for folder in (models.ours(), models.writing()):
            model = asr.load_model(folder, device=device)
            reading = read(model.network, *features_of(model), [1.0, 1.0, 1.5])
            found.append([reading.hypotheses, reading.losses([0, 2], [[1, 2], [3]])])
    return found


def moonshine(models: Models, device: torch.device) -> Any:
    """The other family that writes."""
    config = decoder_config(models.moonshine())
    network = built(config).to(device)
    texts = [[40, 41], [42]]
    features = noise_features(config, network, SAMPLES[:2], [0, 1])
    given = [sent(one, device) for one in features]
    output = Output(*network(*given, tokens=texts))
    losses_B = network.criterion.training_losses(output, texts, [9, 9])
    losses_B.sum().backward()
    return [losses_B, generate(network, *given, 6), generate_beam(network, *given, 2, 4)]


def written_loss(models: Models, device: torch.device) -> Any:
    """Cross-entropy with weights of tokens and smoothing, CTC beside it; and the gradient."""
    model, network = writing(models, device)
    network.requires_grad_(True)
    texts = [[3, 4, 5], [], [6]]
    features = features_of(model)
    frames = network.encoder.output_lengths(features[1]).tolist()
    output = Output(*network.train()(*features, tokens=texts))
    losses_B = network.criterion.training_losses(
        output, texts, frames, [[0.5, 1.5, 1.0, 1.0], None, [2.0, 0.0]]
    )
    losses_B.sum().backward()
    squares = [p.grad.square().sum() for p in network.parameters() if p.grad is not None]
    return [losses_B, torch.stack(squares)]


def labels(models: Models, device: torch.device) -> Any:
    """Every way to decide labels, of both kinds of network."""
    found = []
    # Short, so that texts are.
    segments = [Segment(Kind.UNTRANSCRIBED, place, 0, 0.4) for place in range(3)]
    request = LabelRequest(segments, ["ab", "", "a ba"], 0.0)
    for folder, decisions in (
        (models.ours(), ("greedy", "sample", "oracle")),
        (models.writing(), ("greedy", "beam", "oracle")),
    ):
        model = asr.load_model(folder, device=device)
        features = features_of(model)
        for decision in decisions:
            measures = ("likelihood", "tokens") if decision == "greedy" else ("likelihood",)
            for measure in measures:
                own = {"decision": decision, "filters": {"confidence": measure}, "start_hours": 0}
                own |= {"beam": {"beam_size": 2}} if decision == "beam" else {}
                config = model.config.model_dump() | {"pseudo_label": own}
                config |= {"corpus": {"untranscribed": ["some"]}}
                decoder = make_label_decoder(parse_config(config, "test"), model.tokenizer)
                with torch.no_grad():
                    found.append(decoder.labels(model.network, *features, request))
    return found


def recognisers(models: Models, device: torch.device) -> Any:
    """`asr label` by models of ours and of others."""
    found = []
    waveforms_BN, samples_B = waveforms()
    for folder in (models.ours(), models.ctc(), models.writing(), models.whisper()):
        recogniser = load_recogniser(Choice(str(folder)), device)
        is_slow = folder in (models.writing(), models.whisper())
        short = (waveforms_BN[:1, :3200], torch.tensor([3200]))
        found.append(recogniser(*(short if is_slow else (waveforms_BN, samples_B))))
    return found


def frame_readers(models: Models, device: torch.device) -> Any:
    """What `asr prepare align` reads logits by."""
    waveforms_BN, _ = waveforms()
    return [
        load_frame_reader(str(folder), "teacher", device).logits(waveforms_BN[1])
        for folder in (models.ours(), models.writing(), models.ctc())
    ]


def probing(models: Models, device: torch.device) -> Any:
    """A block's frames of a labelled set, and a head on them."""
    model = probed(asr.load_model(models.ours(), device=device), 1)
    speech = SpeechSet.load(models.corpus / "dev.jsonl.gz")
    found = labelled_frames(model, speech, str.upper, None, 1, 1.0, 30.0)
    torch.manual_seed(1)
    whole = with_head(model, torch.nn.Linear(model.network.encoder.width, 5), found.tokenizer)
    return [found.frames_SD, *whole.logits(*waveforms())]


def pretrained(family: str, models: Models, device: torch.device) -> Any:
    """A family's features, a recording's in pieces too, and its encoder, which trains."""
    encoder = load_encoder(str(models.family(family)))
    if family == "wav2vec2":
        torch.manual_seed(7)
        add_lora(encoder, LoraConfig(rank=2, alpha=4.0))
    encoder = encoder.to(device)
    encoder.set_dropout(0.0, 0.0)
    front_end = encoder.front_end().to(device)
    waveforms_BN, samples_B = waveforms()
    given = sent(waveforms_BN, device), sent(samples_B, device)
    features_BTF, lengths_B = front_end(*given)
    kept_BL = torch.ones(len(samples_B), encoder.layers, dtype=torch.bool)
    kept_BL[1, 0] = False
    hidden_BSD, frames_B = encoder.train()(features_BTF, lengths_B, kept_BL)
    # What stands in padding is nobody's.
    places_S = torch.arange(hidden_BSD.shape[1], device=device)
    hidden_BSD = hidden_BSD * (places_S < frames_B[:, None])[..., None]
    hidden_BSD.square().mean().backward()
    squares = [p.grad.square().sum() for p in encoder.parameters() if p.grad is not None]
    recording = front_end.survey([waveforms_BN[0, :9000], waveforms_BN[1]])
    piece_BTF, _ = front_end(given[0][1:2], given[1][1:2], recording)
    return [hidden_BSD, frames_B, torch.stack(squares), piece_BTF]


CASES: dict[str, Callable[[Models, torch.device], Any]] = {
    **{f.__name__: f for f in (decoding, beam_search, transcription, labels, recognisers)},
    **{f.__name__: f for f in (generation, readings, written_loss, written_decoding)},
    **{f.__name__: f for f in (written_transcription, moonshine, frame_readers, probing)},
    **{f"pretrained {family}": partial(pretrained, family) for family in FAMILIES},
}


# How what they give is compared.


def on_host(found: Any) -> Any:
    """Tensors as numbers, records as fields."""
    if isinstance(found, Tensor):
        return np.asarray(found.detach().to("cpu").float().numpy())
    if is_dataclass(found) and not isinstance(found, type):
        return on_host(asdict(found))
    if isinstance(found, Mapping):
        return {key: on_host(value) for key, value in found.items()}
    if isinstance(found, str) or not isinstance(found, Iterable):
        return found
    return found if isinstance(found, np.ndarray) else [on_host(one) for one in found]


def assert_alike(here: Any, there: Any, relative: float, absolute: float, at: str = "") -> None:
    """Texts and whole numbers are the same, and others within the tolerances."""
    if isinstance(here, Mapping):
        assert here.keys() == there.keys(), at
        pairs: Sequence[tuple[Any, Any, Any]] = [(k, v, there[k]) for k, v in here.items()]
    elif isinstance(here, list):
        assert len(here) == len(there), at
        pairs = [(n, *two) for n, two in enumerate(zip(here, there, strict=True))]
    elif isinstance(here, (float, np.ndarray)):
        np.testing.assert_allclose(there, here, relative, absolute, err_msg=at)
        return
    else:
        assert here == there, at
        return
    for key, one, other in pairs:
        assert_alike(one, other, relative, absolute, f"{at}/{key}")
