"""Words with times, by the segments of an stm."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_helpers import texts, written

from asr.errors import UserError
from asr.evaluation.ctm import into_segments, read_ctm
from asr.evaluation.transcripts import read_transcripts

STM = """;; CATEGORY "0" "" ""
2345 A 2345-a 0.10 2.03 <o,f0,male> uh huh yes i thought
2345 A 2345-b 2.10 3.04 <o,f0,male> dog walking is a very
2345 A unknown 3.50 4.59 IGNORE_TIME_SEGMENT_IN_SCORING
2345 B 2345-c 4.50 5.00 and so on
"""
CTM = """;; time-marked words
2345 A 1.00 0.50 i
2345 A 0.11 0.20 uh -0.5
2345 A 0.40 0.20 huh 0.99
2345 A 1.60 0.40 thought
2345 A 2.20 0.30 dog
2345 A 3.60 0.20 lost
2345 B 4.60 0.20 and
"""


def test_nist_stm_and_ctm(tmp_path: Path) -> None:
    stm, ctm = written(tmp_path / "ref.stm", STM), written(tmp_path / "hyp.ctm", CTM)
    references = read_transcripts(stm, "reference")
    assert {n: r.text for n, r in references.items()} == {
        "2345-A-0.10-2.03": "uh huh yes i thought",
        "2345-A-2.10-3.04": "dog walking is a very",
        "2345-B-4.50-5.00": "and so on",
    }
    first = references["2345-A-0.10-2.03"]
    assert (first.speaker, first.fields["labels"]) == ("2345-a", "o,f0,male")
    assert first.seconds == pytest.approx(1.93)
    found, outside = into_segments(read_ctm(ctm), references)
    assert [one.text for one in found.values()] == ["uh huh i thought", "dog", "and"]
    assert outside == 1
    overlapping = written(tmp_path / "two.stm", "f A a 0 4 x\nf A b 3 6 y\n")
    with pytest.raises(UserError, match="cannot be told apart"):
        into_segments(read_ctm(ctm), read_transcripts(overlapping, "reference"))
    strange = written(tmp_path / "other.stm", "2345 1 a 0 4 x\n")
    with pytest.raises(UserError, match="none in common"):
        into_segments(read_ctm(ctm), read_transcripts(strange, "reference"))
    assert texts(ctm, "hypothesis")["2345-A"] == "uh huh i thought dog lost"
