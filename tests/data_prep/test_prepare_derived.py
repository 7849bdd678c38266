"""What is derived from prepared sets: the tokenizer and stored features; and the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from data_prep_helpers import cuts_of, write_audio
from lhotse.qa import validate

from asr.config.features import FeatureConfig
from asr.data.reading import load_features
from asr.data_prep import cli, manifests
from asr.errors import UserError
from asr.model.features import LogMel

_TEXTS = ["the cat sat on the mat", "a cat and a hat", "that is that"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    for number, seconds in enumerate((0.5, 0.73, 0.01)):
        write_audio(root / f"x/{number}.wav", seconds=seconds)
    write_audio(root / "plain.wav")
    lines = [f"x/{number}\t{text}\n" for number, text in enumerate(_TEXTS)]
    (root / "transcripts.tsv").write_text("".join(lines))
    cli.main(["folder", "--root", str(root), "--output", str(tmp_path / "data")])
    return tmp_path / "data"


def train(data: Path, output: Path, size: int = 30, name: str = "labelled") -> int:
    manifest = str(data / f"{name}.jsonl.gz")
    options = ["--kind", "bpe", "--vocabulary-size", str(size)]
    return cli.main(["tokenizer", "--cuts", manifest, "--output", str(output), *options])


def test_tokenizer_is_trained_on_the_transcripts(data: Path, tmp_path: Path) -> None:
    import sentencepiece

    assert train(data, tmp_path / "one") == 0
    assert train(data, tmp_path / "two") == 0
    first, second = (tmp_path / name / "tokenizer.model" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    model = sentencepiece.SentencePieceProcessor(model_file=str(first))
    assert model.get_piece_size() == 30
    assert [model.decode(model.encode(text)) for text in _TEXTS] == _TEXTS
    assert model.unk_id() == 0
    assert model.bos_id() == model.eos_id() == -1
    assert len((tmp_path / "one" / "tokenizer.vocab").read_text().splitlines()) == 30


@pytest.mark.parametrize(
    ("size", "name", "message"),
    [
        (5000, "labelled", "--vocabulary-size 5000"),
        (30, "untranscribed", "no transcripts"),
        (30, "missing", "no such set"),
    ],
)
def test_tokenizer_faults_are_explained(
    data: Path, tmp_path: Path, size: int, name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(data, tmp_path / "out", size, name)
    assert not (tmp_path / "out").exists()


def test_what_sentencepiece_keeps_for_itself_is_named_and_the_remedy_works(tmp_path: Path) -> None:
    """Training once sent to this command whose model could not spell it."""
    from asr.model.tokenizer import SentencePieceTokenizer

    for number in range(30):
        write_audio(tmp_path / "in" / f"{number}.wav")
    texts = [_TEXTS[number % 3] for number in range(30)]
    texts[4] += " <unk> cat"
    lines = [f"{number}\t{text}\n" for number, text in enumerate(texts)]
    (tmp_path / "in" / "transcripts.tsv").write_text("".join(lines))
    prepare = ["folder", "--root", str(tmp_path / "in"), "--output", str(tmp_path / "data")]
    assert cli.main(prepare) == 0
    with pytest.raises(UserError, match=r"1 of 30 transcripts hold .*: '<unk>' 1; .*--char"):
        train(tmp_path / "data", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert cli.main([*prepare, "--characters", "acdehimnostu"]) == 0
    assert train(tmp_path / "data", tmp_path / "out") == 0
    tokenizer = SentencePieceTokenizer(tmp_path / "out" / "tokenizer.model")
    assert tokenizer.encode("the\tcat\u00a0sat") == tokenizer.encode("the cat sat")
    with pytest.raises(UserError, match="has characters unknown"):
        tokenizer.encode("<unk>")


def test_features_are_those_of_the_model(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["features", "--data", str(data), "--sets", "labelled", "untranscribed"]) == 0
    assert "2 cuts; 1 shorter than one window left out" in capsys.readouterr().out
    log_mel = LogMel(FeatureConfig())
    cuts = cuts_of(data, "labelled.features")
    assert [cut.id for cut in cuts] == ["x/0", "x/1"]
    for cut in cuts:
        validate(cut)
        waveform = torch.from_numpy(cut.load_audio())
        expected, _ = log_mel(waveform, torch.tensor([cut.num_samples]))
        np.testing.assert_array_equal(cut.load_features(), expected[0].numpy())
        assert cut.supervisions[0].text


def test_a_flipped_byte_of_stored_features_is_noticed(data: Path) -> None:
    cli.main(["features", "--data", str(data), "--sets", "labelled"])
    first, second = cuts_of(data, "labelled.features")
    assert len(load_features(first))
    assert len(load_features(second))
    path = Path(first.features.storage_path) / first.features.storage_key
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=rf"{path.name} .*'x/0'.*SHA-256 is not that of its manifest"
    ):
        load_features(first)
    path.unlink()
    with pytest.raises(UserError, match="cannot be read any more"):
        load_features(first)


def test_features_are_computed_once_for_the_same_cuts_and_settings(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["features", "--data", str(data), "--sets", "untranscribed"]
    cli.main(arguments)
    cli.main(arguments)
    assert "nothing to do" in capsys.readouterr().out
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("features: {mel_bins: 20}\n")
    cli.main([*arguments, "--recipe", str(recipe)])
    (cut,) = cuts_of(data, "untranscribed.features")
    assert cut.load_features().shape[1] == cut.num_features == 20


def test_an_interrupted_computation_leaves_no_manifest(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["features", "--data", str(data), "--sets", "labelled"]
    cli.main(arguments)
    target = data / "labelled.features.jsonl.gz"
    (data / "features" / "labelled" / "features.json").unlink()

    def crash(path: Path, cuts: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(manifests, "write_cuts", crash)
        with pytest.raises(KeyboardInterrupt):
            cli.main(arguments)
    assert not target.exists()
    cli.main(arguments)
    assert len(cuts_of(data, "labelled.features")) == 2


def test_features_of_a_missing_set_are_explained(data: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.jsonl\.gz: no such set"):
        cli.main(["features", "--data", str(data), "--sets", "nowhere"])


def test_help_is_quick_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("festvox_ru", "librispeech", "folder", "tokenizer", "lm", "features"):
        with pytest.raises(SystemExit) as done:
            cli.main([command, "--help"])
        assert done.value.code == 0
        assert f"asr prepare {command}" in capsys.readouterr().out
    program = "import sys, asr.data_prep.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_language_model_is_estimated_on_the_transcripts(data: Path, tmp_path: Path) -> None:
    manifest, path = str(data / "labelled.jsonl.gz"), tmp_path / "lm.arpa"
    letters = set("|".join(_TEXTS).replace(" ", "|"))
    assert cli.main(["lm", "--cuts", manifest, "--output", str(path), "--order", "2"]) == 0
    assert f"ngram 1={len(letters) + 3}" in path.read_text().splitlines()  # <s>, </s>, <unk>
    options = ["--order", "2", "--unit", "words"]
    assert cli.main(["lm", "--cuts", manifest, "--output", str(path), *options]) == 0
    assert f"ngram 1={len(set(' '.join(_TEXTS).split())) + 3}" in path.read_text().splitlines()
    with pytest.raises(UserError, match="between 2 and 6"):
        cli.main(["lm", "--cuts", manifest, "--output", str(path), "--order", "1"])
    with pytest.raises(UserError, match="no transcripts in there"):
        cli.main(["lm", "--cuts", str(data / "untranscribed.jsonl.gz"), "--output", str(path)])
