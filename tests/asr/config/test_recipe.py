"""Recipes are read strictly, and every fault names the field, the value and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from asr.__main__ import main
from asr.config.recipe import dump_config, load_config, parse_config
from asr.errors import UserError


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle: {}", r"unknown key 'modle'; did you mean 'model'"),
        ("model: {widht: 3}", r"unknown key 'model.widht'; did you mean 'model.width'"),
        (
            "model: {kind: pretrained, encoder: some, layers: 3}",
            r"unknown key 'model.layers'; it is of another model.kind: leave it out",
        ),
        ("model: {dropout: 2}", r"'model.dropout' \(received 2\)"),
        ("model: {width: 30, heads: 4}", r"width 30 must be a multiple of heads 4"),
        ("model: {convolution_kernel: 8}", r"convolution_kernel 8 must be odd"),
        ("optimizer: {learning_rate: .nan}", r"'optimizer.learning_rate'"),
        ("batch: {batch_seconds: 1, batch_seconds_per_rank: 2}", r"exactly one of batch_seconds"),
        ("trainer: {precision: bf16}", r"zero_stage 1, 2 or 3"),
        ("pseudo_label: {start_hours: 1}", r"corpus.untranscribed is empty"),
        ("pseudo_label: {start: {hours: 1, passes: 2}}", r"give one of hours and passes"),
        ("pseudo_label: {start_hours: 2, start: {hours: 1}}", r"start_hours 2 and start.hours 1"),
        ("trainer: {total_hours: 2, total_passes: 1}", r"total_hours 2 and total_passes 1 both"),
        (
            "corpus: {untranscribed: [a]}\npseudo_label: {start: {hours: 1, dev_wer_below: 70}}",
            r"dev_wer_below 70 needs a dev set",
        ),
        ("fork_from: a\ninit_from: b", r"give one of them"),
        (
            "pseudo_label: {health: {length_ratio_band: [2, 1]}}",
            r"\[2, 1\] must be \[lower, upper\]",
        ),
        (
            "pseudo_label: {filters: {min_length_ratio: 2, max_length_ratio: 1.5}}",
            r"min_length_ratio 2 must be below max_length_ratio 1.5",
        ),
        ("model: {layers: 1000000}", r"'model.layers' \(received 1000000\)"),
        ("model: {width: 1000000000}", r"'model.width' \(received 1000000000\)"),
        ("model: {convolution_kernel: 1000000001}", r"'model.convolution_kernel'"),
        ("model: {stride: 1000000}", r"'model.stride'"),
        ("features: {sample_rate_hz: 16}", r"'features.sample_rate_hz' \(received 16\).* 1000"),
        ("features: {sample_rate_hz: 1000000000}", r"'features.sample_rate_hz'"),
        ("features: {mel_bins: 10000000}", r"'features.mel_bins'"),
        ("features: {window_ms: 1.0e-9}", r"'features.window_ms'"),
        ("features: {hop_ms: 0.001}", r"'features.hop_ms' \(received 0.001\)"),
        ("[1, 2]", r"a recipe is a mapping"),
        ("a: [", r"not readable as YAML"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["corpus", "name", "x"])
def test_aliases_that_stand_for_more_than_can_be_read_are_refused(tmp_path: Path, key: str) -> None:
    """The recipe was shown, or validated, until the memory was full."""
    lines = [
        "b0: &b0 [x]",
        *(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]" for n in range(1, 25)),
    ]
    for text in ("\n".join([*lines, f"{key}: *b24"]), f"{key}: &a [*a]"):
        with pytest.raises(UserError, match="aliases"):
            load_config(write(tmp_path, text))


def test_a_missing_recipe_is_the_user_s_to_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "says"),
    [("utf-16", "is UTF-16 and not UTF-8; convert it"), ("latin-1", r"yaml:2: not UTF-8 .*iconv")],
)
def test_a_recipe_in_another_encoding_is_said_with_its_remedy(
    tmp_path: Path, encoding: str, says: str
) -> None:
    (tmp_path / "own.yaml").write_text("seed: 1\nname: café\n", encoding=encoding)
    with pytest.raises(UserError, match=says):
        load_config(tmp_path / "own.yaml")


def test_a_base_is_merged_below_and_overrides_above(tmp_path: Path) -> None:
    write(tmp_path, "model: {width: 64, heads: 2}\nseed: 3", "base.yaml")
    path = write(tmp_path, "base: base.yaml\nmodel: {heads: 4}")
    config = load_config(path, ["model.layers=5", "corpus.dev=[a, b]", "fork_from=null"])
    assert (config.model.width, config.model.heads, config.model.layers) == (64, 4, 5)
    assert config.seed == 3
    assert config.corpus.dev == ["a", "b"]


def test_a_base_that_two_bases_share_does_not_undo_the_first(tmp_path: Path) -> None:
    write(tmp_path, "model: {width: 64, heads: 2}\nseed: 3", "shared.yaml")
    write(tmp_path, "base: shared.yaml\nmodel: {heads: 4}", "first.yaml")
    write(tmp_path, "base: shared.yaml\nseed: 5", "second.yaml")
    config = load_config(write(tmp_path, "base: [first.yaml, second.yaml]"))
    assert (config.model.width, config.model.heads, config.seed) == (64, 4, 5)


def test_a_circle_of_bases_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "base: recipe.yaml")
    with pytest.raises(UserError, match="circle"):
        load_config(path)


@pytest.mark.parametrize("override", ["model.width", "seed.x=1", "model.width=["])
def test_a_malformed_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(UserError, match="override"):
        load_config(write(tmp_path, "seed: 1"), [override])


def test_what_is_printed_can_be_read_again() -> None:
    config = parse_config({"model": {"layers": 7}}, "test")
    for comments in (False, True):
        assert parse_config(yaml.safe_load(dump_config(config, comments)), "dump") == config


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[3].glob("recipes/**/*.yaml")))
def test_every_recipe_is_valid(path: Path) -> None:
    """A method is put on top of a recipe that has untranscribed speech."""
    load_config(path, ["corpus.untranscribed=[some]"] if path.parent.name == "methods" else [])


def test_the_start_of_labels_in_its_long_and_its_short_form(tmp_path: Path) -> None:
    corpus = "corpus: {untranscribed: [a], dev: [b]}\n"
    write(tmp_path, corpus + "pseudo_label: {start_hours: 16}", "base.yaml")
    path = write(tmp_path, "base: base.yaml\npseudo_label: {start: {dev_wer_below: 70}}")
    config = load_config(path)
    assert config.pseudo_label.start_hours == config.pseudo_label.start.hours == 16
    assert config.pseudo_label.start.dev_wer_below == 70
    assert parse_config(yaml.safe_load(dump_config(config)), "again") == config
    supervised = load_config(path, ["pseudo_label.start_hours=null"])
    assert supervised.pseudo_label.start_hours is None
    again = load_config(path, ["pseudo_label.start_hours=4"])
    assert again.pseudo_label.start.hours == 4
    assert again.pseudo_label.start.dev_wer_below == 70
    by_mapping = load_config(path, {"pseudo_label": {"start_hours": 4}})
    assert by_mapping == again
    write(
        tmp_path, "base: base.yaml\npseudo_label: {start: {hours: null, passes: 9}}", "passes.yaml"
    )
    passes = tmp_path / "passes.yaml"
    assert load_config(passes).pseudo_label.start.passes == 9
    assert load_config(passes, ["pseudo_label.start_hours=null"]).pseudo_label.start.is_set is False
    assert load_config(passes, ["pseudo_label.start_hours=3"]).pseudo_label.start_hours == 3
