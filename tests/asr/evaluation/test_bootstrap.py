"""Rates against jiwer, the bootstrap against a plain loop, and what a user's mistakes say."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.cli import score as score_command
from asr.errors import UserError
from asr.evaluation import bootstrap as statistics
from asr.evaluation import edit_distance as edits
from asr.evaluation import results, score
from asr.evaluation.edit_distance import Counts, align
from asr.evaluation.hypotheses import Utterance, read_hypotheses

TEXT = st.lists(st.sampled_from(["A", "BE", "CAT", "ЁЖ", "Ü"]), max_size=6).map(" ".join)


def utterances(errors_in: float, number: int = 300, seed: int = 0) -> list[Utterance]:
    """References are the same for every `errors_in` and `seed`; the share of wrong words differs."""
    words, noise = random.Random(1), random.Random(f"{seed} {errors_in}")
    made = []
    for i in range(number):
        reference = [words.choice("ABCDEFGH") * words.randint(1, 4) for _ in range(8)]
        hypothesis = ["X" if noise.random() < errors_in else word for word in reference]
        pair = " ".join(reference), " ".join(hypothesis)
        made.append(Utterance(f"u{i:04d}", *pair, seconds=1.0 + i % 20, speaker=f"s{i % 3}"))
    return made


def compare(a: list[Utterance], b: list[Utterance], draws: int = 10_000) -> statistics.Comparison:
    return statistics.compare_aligned(align(a), align(b), draws)


def build_results(decoded: dict[str, dict[str, list[Utterance]]], **how: Any) -> dict[str, Any]:
    return results.build_results(results.align_sets(decoded), **how)


def write(path: Path, lines: list[Utterance]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for u in lines:
            record = {"id": u.id, "reference": u.reference, "hypothesis": u.hypothesis}
            record |= {"seconds": u.seconds, "speaker": u.speaker}
            stream.write(json.dumps(record) + "\n")
    return path


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6))
def test_rates_equal_jiwers(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = (list(side) for side in zip(*pairs, strict=True))
    made = [Utterance(str(i), r, h, 1.0) for i, (r, h) in enumerate(pairs)]
    result = score.score(made, draws=10)
    assert result.wer == pytest.approx(100 * jiwer.wer(references, hypotheses))
    assert result.cer == pytest.approx(100 * jiwer.cer(references, hypotheses))
    expected = jiwer.process_words(references, hypotheses)
    found = (result.substitutions, result.deletions, result.insertions)
    assert found == (expected.substitutions, expected.deletions, expected.insertions)


def test_empty_reference_counts_insertions_and_empty_hypothesis_deletions() -> None:
    words, characters = edits.count_edits(["", "A B", ""], ["A B C", "", ""])
    assert words[0] == Counts(insertions=3)
    assert words[1] == Counts(deletions=2)
    assert words[2] == Counts()
    assert characters[1].deletions == 3
    assert edits.error_counts([], []) == (Counts(), Counts())
    assert words[0].rate == 300.0


def test_counts_add_up_and_the_sentence_error_rate() -> None:
    made = [Utterance("a", "ONE TWO", "ONE TO", 1800), Utterance("b", "X", "X", 1800)]
    result = score.score(made)
    assert (result.words, result.substitutions, result.utterances) == (3, 1, 2)
    assert result.ser == 50.0
    assert result.hours_of_audio == 1.0
    assert result.wer_low <= result.wer <= result.wer_high


def test_bootstrap_equals_a_plain_loop() -> None:
    table_NK = np.random.default_rng(0).integers(0, 30, size=(57, 3)).astype(np.float64)
    found_RK = statistics.resampled_sums(table_NK, draws=40, seed=5)
    generator = np.random.default_rng(5)
    for row_K in found_RK:
        total_K = np.zeros(3)
        for index in generator.integers(57, size=57):
            total_K += table_NK[index]
        assert np.array_equal(row_K, total_K)


def test_bootstrap_in_pieces_equals_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    table_NK = np.arange(40.0).reshape(20, 2)
    whole_RK = statistics.resampled_sums(table_NK, draws=11, seed=3)
    monkeypatch.setattr(statistics, "_RESAMPLED_AT_ONCE", 60)
    assert np.array_equal(statistics.resampled_sums(table_NK, draws=11, seed=3), whole_RK)


def test_same_seed_same_figures_whatever_the_order_of_the_file() -> None:
    made = utterances(0.2)
    shuffled = random.Random(3).sample(made, len(made))
    assert score.score(made) == score.score(shuffled)
    assert score.score(made) != score.score(made, seed=1)
    other = utterances(0.25)
    assert compare(made, other) == compare(shuffled, other)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        result = score.score(utterances(0.2, number=60, seed=seed), draws=300)
        covered += result.wer_low <= 20.0 <= result.wer_high
    assert 51 <= covered <= 60


def test_identical_systems_do_not_differ() -> None:
    made = utterances(0.2)
    result = compare(made, made)
    assert (result.delta_wer, result.p_wer, result.delta_cer, result.p_cer) == (0, 1, 0, 1)


def test_clearly_different_systems_differ_in_both_directions() -> None:
    good, bad = utterances(0.1), utterances(0.4)
    better, worse = compare(good, bad), compare(bad, good)
    assert better.delta_wer == pytest.approx(-worse.delta_wer)
    assert better.delta_wer < -20
    assert 0 < better.p_wer < 0.001
    assert better.p_wer == worse.p_wer
    assert better.delta_wer_low < better.delta_wer < better.delta_wer_high < 0


def test_p_is_about_uniform_between_equally_good_systems() -> None:
    ps = [
        compare(utterances(0.2, 80, seed), utterances(0.2, 80, seed + 1000), 500).p_wer
        for seed in range(60)
    ]
    assert sum(p < 0.05 for p in ps) <= 9
    assert sum(p < 0.5 for p in ps) >= 18


def test_unpairable_systems_are_refused() -> None:
    made = utterances(0.2, number=5)
    renamed = [*made[:4], Utterance("other", "A", "A", 1.0)]
    with pytest.raises(UserError, match="'u0004' is missing from the second"):
        compare(made, renamed)
    with pytest.raises(UserError, match="'u0004' is missing from the first"):
        compare(made[:4], made)
    changed = [Utterance("u0000", "NOT THIS", "A", 1.0), *made[1:]]
    with pytest.raises(UserError, match="references of 'u0000' differ"):
        compare(made, changed)


GOOD = '{"id": "a", "reference": "A", "hypothesis": "A", "seconds": 1}'


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{not json", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"id": "b", "hypothesis": "A", "seconds": 1}', "'reference' is not text"),
        ('{"id": "b", "reference": "A", "hypothesis": "A"}', "'seconds' is not a length"),
        ('{"id": "b", "reference": "A", "hypothesis": "A", "seconds": NaN}', "'seconds' is not"),
        (GOOD, "id 'a' was already on line 1"),
    ],
)
def test_malformed_line_names_file_and_line(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "teacher.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=fault) as caught:
        read_hypotheses(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_missing_and_empty_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_hypotheses(tmp_path / "no.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="no utterance in it"):
        read_hypotheses(tmp_path / "empty.jsonl")
    with pytest.raises(UserError, match="nothing decoded"):
        score_command.main([str(tmp_path)])


def test_line_separator_inside_a_transcript_is_no_end_of_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD.replace('"A"', '"A\u2028B"', 1) + "\n", encoding="utf-8")
    assert read_hypotheses(path)[0].reference == "A\u2028B"


def test_results_follow_the_contract() -> None:
    models = {"supervised": utterances(0.4), "student": utterances(0.2), "teacher": utterances(0.1)}
    found = build_results({"dev": {"teacher": utterances(0.1)}, "test": models})
    figures = found["sets"]["test"]["teacher"]
    wanted = {"wer", "wer_low", "wer_high", "cer", "cer_low", "cer_high"}
    assert wanted | {"words", "utterances", "hours_of_audio", "ser"} <= set(figures)
    pair = found["paired"]["teacher_vs_supervised"]
    assert set(pair) == {"delta_wer", "p_wer", "delta_cer", "p_cer"}
    assert pair["delta_wer"] == pytest.approx(
        figures["wer"] - found["sets"]["test"]["supervised"]["wer"]
    )
    assert list(found["by"]["duration"]["teacher"]) == ["<5 s", "5-10 s", "10-15 s", ">15 s"]
    assert list(found["by"]["speaker"]["student"]) == ["s0", "s1", "s2"]
    words = [group["words"] for group in found["by"]["duration"]["teacher"].values()]
    assert sum(words) == figures["words"]
    json.dumps(found, allow_nan=False)


def test_results_without_models_to_pair_and_with_one_speaker() -> None:
    only = [u for u in utterances(0.1) if u.speaker == "s0" and u.seconds < 5]
    found = build_results({"other": {"teacher": only}}, by_fields=("speaker", "duration"))
    assert (found["paired"], found["by"]) == ({}, {})
    assert build_results({}) == {"sets": {}, "paired": {}, "by": {}}


def test_results_by_another_field() -> None:
    made = [Utterance(str(i), "A", "A", 1.0, None, {"noise": i % 2}) for i in range(4)]
    found = build_results({"test": {"teacher": made}}, by_fields=("noise",))
    assert set(found["by"]["noise"]["teacher"]) == {"0", "1"}


def test_headline_set_is_a_test_set_where_there_is_one() -> None:
    names = ("dev-clean", "test-clean", "test-other")
    assert results.main_set({name: {} for name in names}) == "test-clean"
    assert results.main_set({"dev": {}, "a": {}}) == "dev"
    assert results.main_set({}) is None


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "decode/test/teacher.jsonl", utterances(0.1))
    bad = write(tmp_path / "decode/test/supervised.jsonl", utterances(0.4))
    assert score_command.main([str(good)]) == 0
    assert "300 utterances, 2,400 words" in capsys.readouterr().out
    assert score_command.main([str(tmp_path)]) == 0
    assert "teacher minus supervised: WER -" in capsys.readouterr().out
    assert score_command.main([str(tmp_path), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"sets", "paired", "by"}
    with pytest.raises(UserError, match="`asr compare` compares them"):
        score_command.main([str(good), str(bad)])
    assert score_command.main(["--reference-format", "asr", str(good), str(bad), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["systems"][0]
    assert found["wer"] == pytest.approx(score.score(utterances(0.4)).wer)
    with pytest.raises(UserError, match="give REF and HYP"):
        score_command.main([str(good)] * 3)


def test_speakers_are_resampled_where_they_are_known() -> None:
    made = utterances(0.2)
    found = score.score(made)
    assert found.speakers == 3
    table = np.zeros((3, 2))
    for one in align(made):
        index = int((one.utterance.speaker or "s0")[1:])
        table[index] += one.words.errors, one.words.reference_length
    sums = statistics.resampled_sums(table, statistics.INTERVAL_DRAWS, statistics.SEED)
    bounds = np.percentile(100 * sums[:, 0] / sums[:, 1], [2.5, 97.5])
    assert (found.wer_speaker_low, found.wer_speaker_high) == pytest.approx(tuple(bounds))
    unknown = [*made, Utterance("z", "A", "A", 1.0)]
    assert score.score(unknown).wer_speaker_low is None


def test_the_mean_of_utterances_is_only_given_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = [Utterance("a", "A B C D", "A B C D", 1.0), Utterance("b", "A", "X", 1.0)]
    path = write(tmp_path / "a.jsonl", two)
    assert score_command.main([str(path), "--json"]) == 0
    assert "mean_utterance_wer" not in capsys.readouterr().out
    assert score_command.main([str(path), "--json", "--utterance-mean"]) == 0
    figures = json.loads(capsys.readouterr().out)["systems"][0]
    assert figures["wer"] == pytest.approx(20)
    assert figures["mean_utterance_wer"] == pytest.approx(50)


def test_few_utterances_are_not_trusted() -> None:
    few = score.render_table({"teacher": score.score(utterances(0.1, number=5))})
    assert "do not trust" in few
    assert "do not trust" not in score.render_table({"t": score.score(utterances(0.1))})


def test_ten_thousand_utterances_are_scored_in_seconds() -> None:
    words = random.Random(0)
    made = []
    for i in range(10_000):
        reference = [str(words.randrange(2000)) for _ in range(20)]
        hypothesis = [w if words.random() < 0.9 else "0" for w in reference]
        made.append(Utterance(str(i), " ".join(reference), " ".join(hypothesis), 7.0))
    start = time.process_time()
    score.score(made, draws=1000)
    assert time.process_time() - start < 5
