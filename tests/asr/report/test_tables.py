"""What the report says of the metrics: the summary and the worst utterances."""

from __future__ import annotations

from asr.evaluation import edit_distance as edits
from asr.evaluation.hypotheses import Utterance
from asr.report.tables import summary, worst_utterances


def sentence(teacher_wer: float, supervised_wer: float, p: float, utterances: int = 100) -> str:
    metrics = {"wer_low": 0.0, "wer_high": 9.0, "utterances": utterances}
    models = {
        "supervised": {"wer": supervised_wer, "cer": 4.0, **metrics},
        "teacher": {"wer": teacher_wer, "cer": 3.0, **metrics},
    }
    pair = {"delta_wer": teacher_wer - supervised_wer, "delta_cer": -1.0}
    pair |= {"p_wer": p / 3, "p_wer_holm": p, "p_cer": 0.01, "p_cer_holm": 0.03}
    results = {"sets": {"test": models}, "paired": {"teacher_vs_supervised": pair}}
    return " ".join(summary(results, "test"))


def test_summary_in_words() -> None:
    better = sentence(6.0, 8.0, 0.0002)
    assert "6.00 %, 2.00 points lower than the supervised baseline's 8.00 %, 25 % fewer" in better
    assert "25 % fewer errors: significant at 5 % (p < 0.001)" in better
    assert "character error rate is 3.00 %, 1.00 points lower" in better
    worse = sentence(8.0, 6.0, 0.2)
    assert "2.00 points higher" in worse
    assert "not significant, it may be chance (p = 0.20)" in worse
    assert "the same as" in sentence(5.0, 5.0, 1.0)
    assert "too few to rely on" in sentence(6.0, 8.0, 0.01, utterances=5)


def test_worst_utterances_come_first() -> None:
    made = [
        Utterance("good", "A B", "A B", 1.0),
        Utterance("long", "A B C D E F", "A B C D X Y", 1.0),
        Utterance("short", "A B", "", 1.0),
    ]
    assert [w["utterance"].id for w in worst_utterances(edits.align(made))] == ["short", "long"]
