"""Sets with weights: how often they are played, whatever batches, ranks and resumes make of the stream."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import Train, losses, read_lines, write_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_helpers import draw

from asr.__main__ import main
from asr.config.recipe import load_config, parse_config
from asr.data.dataloader import TrainingData
from asr.data.sampler import AudioStream, Position
from asr.data.segments import GroupedCorpus, Kind, SetWeights
from asr.data.transcripts import training_tokenizer
from asr.errors import UserError
from asr.training.resume_rules import check_compatible


def corpus_of(
    counts: list[int], weights: list[float] | None, kind: Kind = Kind.LABELLED, seed: int = 3
) -> GroupedCorpus:
    seconds = np.random.default_rng(sum(counts)).uniform(1, 15, sum(counts))
    set_of = np.repeat(np.arange(len(counts)), counts)
    chosen = None if weights is None else SetWeights(set_of, np.array(weights))
    return GroupedCorpus(kind, seconds, 20.0, seed, (0.9, 1.0, 1.1), chosen)


def played(corpus: GroupedCorpus, pass_index: int) -> Counter[int]:
    groups = [corpus.group(pass_index, i) for i in range(corpus.groups_in_pass(pass_index))]
    return Counter(segment.index for group in groups for segment in group)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0.05, 4)), min_size=1, max_size=3))
def test_a_weight_is_how_often_a_pass_plays_an_utterance(sets: list[tuple[int, float]]) -> None:
    counts, weights = [n for n, _ in sets], [w for _, w in sets]
    corpus = corpus_of([*counts, 10], [*weights, 1.0])
    total: Counter[int] = Counter()
    firsts = np.cumsum([0, *counts])
    for number in range(6):
        once = played(corpus, number)
        total += once
        for (first, count), weight in zip(zip(firsts, counts, strict=False), weights, strict=True):
            members = range(first, first + count)
            assert abs(sum(once[i] for i in members) - count * weight) < 1.0 + 1e-6
            assert all(abs(total[i] - (number + 1) * weight) < 1.0 for i in members)
        assert all(once[i] == 1 for i in range(firsts[-1], firsts[-1] + 10))


def test_without_weights_the_stream_is_what_it_was() -> None:
    plain, ones = corpus_of([40, 20], None), corpus_of([40, 20], [1.0, 1.0])
    for number in range(3):
        groups = range(plain.groups_in_pass(number))
        assert [plain.group(number, i) for i in groups] == [ones.group(number, i) for i in groups]
    # Of the numbers themselves, since runs that were begun before go on.
    assert [s.index for s in plain.group(0, 0)] == [
        s.index for s in corpus_of([60], None).group(0, 0)
    ]


def test_copies_differ_in_all_that_is_drawn() -> None:
    corpus = corpus_of([30], [3.0])
    segments = [s for i in range(corpus.groups_in_pass(1)) for s in corpus.group(1, i)]
    assert len({s.seed(7) for s in segments}) == len(segments) == 90
    assert len({(s.pass_index, s.index) for s in segments}) == 90, "labels are kept by these"
    assert len({(s.index, s.speed) for s in segments}) > 30


def stream(seed: int = 3) -> AudioStream:
    labelled = corpus_of([30, 9], [0.4, 2.5], seed=seed)
    untranscribed = corpus_of([50, 20], [1.0, 1.7], Kind.UNTRANSCRIBED, seed)
    return AudioStream(labelled, untranscribed, (1, 2), 0.01, seed)


def test_batches_and_resumes_only_cut_the_weighted_stream() -> None:
    small, large = draw(stream(), 3, 24), draw(stream(), 12, 6)
    for number, batch in enumerate(large):
        assert list(batch) == [s for part in small[4 * number : 4 * number + 4] for s in part]
    position = Position()
    for batch in small:
        again = stream().next_batch(position, 3)  # nothing but the position carries over
        assert again.segments == batch
        position = again.after
    assert draw(stream(4), 3, 5) != small[:5]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for number, (name, count) in enumerate({"large": 12, "small": 3}.items()):
        write_folder(folder / name, count, 50 + number, transcribed=True)
        options = ["--root", str(folder / name), "--set-name", name]
        for file in list((folder / name).glob("*.wav")):
            file.rename(file.with_name(f"{name}-{file.name}"))
        table = folder / name / "transcripts.tsv"
        lines = table.read_text().splitlines(keepends=True)
        table.write_text("".join(f"{name}-{line}" for line in lines))
        assert main(["prepare", "folder", *options, "--output", str(folder / "data")]) == 0
    return folder / "data"


def load(data: Path, **corpus: object) -> TrainingData:
    tree = {
        "corpus": {"directory": str(data), "labelled": ["small", "large"], **corpus},
        "batch": {"batch_seconds": 9.0},
        "scaling": {"reference_batch_seconds": 24.0},
        "tokenizer": {"characters": "abcdefghijklmnopqrstuvwxyz"},
    }
    config = parse_config(tree, "test")
    return TrainingData(config, training_tokenizer(config))


def drawn(training: TrainingData, rank: int = 0, ranks: int = 1) -> list[list[str]]:
    found = []
    for _, batch in zip(range(12), training.batches(Position(), rank, ranks), strict=False):
        found.append([name for micro_batch in batch.micro_batches for name in micro_batch.ids])
    return found


def test_a_recipe_s_weights_reach_its_batches_on_any_number_of_ranks(data: Path) -> None:
    weighted = load(data, weights={"small": 4})
    assert any("'small' 4 times" in note for note in weighted.notes)
    one = drawn(weighted)
    two = [drawn(weighted, rank, 2) for rank in (0, 1)]
    for batch, *parts in zip(one, *two, strict=True):
        assert sorted(batch) == sorted(name for part in parts for name in part)
    corpus = weighted.stream.corpora[Kind.LABELLED]
    assert corpus is not None
    counts = Counter(
        weighted.sets[Kind.LABELLED].ids[index].split("-")[0]
        for index in played(corpus, 0).elements()
    )
    assert counts == {"large": 12, "small": 12}
    assert drawn(load(data)) == drawn(load(data, weights={"small": 1.0}))
    assert drawn(load(data)) == drawn(load(data, temperature=1.0))


def test_temperature_brings_sets_together_and_keeps_the_length_of_a_pass(data: Path) -> None:
    plain, warm = load(data), load(data, temperature=1e9)
    corpora = [training.stream.corpora[Kind.LABELLED] for training in (plain, warm)]
    assert corpora[0] is not None
    assert corpora[1] is not None
    assert corpora[1].weights is not None
    seconds = corpora[1].seconds * corpora[1].weights.of_utterance
    assert seconds.sum() == pytest.approx(corpora[0].seconds.sum())
    by_set = np.bincount(corpora[1].weights.set_of, seconds)
    assert by_set[0] == pytest.approx(by_set[1])


@pytest.mark.parametrize("weight", ["0", "-1", ".nan", ".inf", "often"])
@pytest.mark.parametrize("setting", ["weights={{labelled: {}}}", "temperature={}"])
def test_a_weight_is_a_number_above_nothing(recipe: Path, setting: str, weight: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(UserError, match=rf"'corpus\.{name}\S*' \(received .*input should be"):
        load_config(recipe, [f"corpus.{setting.format(weight)}"])


def test_faults_of_weights_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights name 'smal', which is no set .*small, large"):
        load(data, weights={"smal": 2})
    with pytest.raises(UserError, match="two answers to one question"):
        load(data, weights={"small": 2}, temperature=2)
    with pytest.raises(UserError, match=r"would play small\.jsonl\.gz 2,000 times"):
        load(data, weights={"small": 2000})
    with pytest.raises(UserError, match="would hold no utterance"):
        load(data, labelled=["small"], weights={"small": 0.1})
    before, now = load(data).config, load(data, weights={"small": 2}).config
    with pytest.raises(UserError, match=r"set .*corpus\.weights"):
        check_compatible(before, now, tmp_path)


@pytest.mark.slow
def test_a_weighted_run_is_the_same_on_two_ranks_and_resumed(train: Train) -> None:
    """With labels that are kept, which copies of one utterance must not share."""
    options = ("corpus.weights={labelled: 0.5, untranscribed: 2.5}", "pseudo_label.schedule=cache")
    options = (*options, "pseudo_label.cache.capacity_utterances=30")
    whole = train("whole", *options, "trainer.total_hours=0.1")
    two = train("two", *options, "trainer.total_hours=0.1", ranks=2)
    train("halves", *options, "trainer.total_hours=0.05")
    halves = train("halves", *options, "trainer.total_hours=0.1")
    seen = [
        [
            (line["step"], sorted(map(str, line.items())))
            for line in read_lines(run / "utterances.jsonl")
        ]
        for run in (whole, two, halves)
    ]
    assert seen[0] == seen[1] == seen[2]
    assert losses(whole) == losses(halves)
    assert losses(whole) == pytest.approx(losses(two), rel=1e-3)
    assert list((whole / "pseudo_labels").rglob("*.parquet"))
