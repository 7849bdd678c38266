"""Models that others made: unpacked, in another case, with a lexicon, and what is none is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from asr.data_prep import cli
from asr.errors import UserError

ARPA = """\\data\\
ngram 1=6
ngram 2=2

\\1-grams:
-99\t<s>\t-0.3
-1\t</s>
-2\t<unk>
-0.5\tThe\t-0.2
-0.7\tcat\t-0.1
-0.9\tcafé

\\2-grams:
-0.1\t<s> The
-0.2\tThe cat

\\end\\
"""


def take(source: object, output: Path, *options: str) -> int:
    return cli.main(["lm", "--arpa", str(source), "--output", str(output), *options])


def test_a_gzipped_model_in_another_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "lm.arpa.gz"
    source.write_bytes(gzip.compress(ARPA.encode()))
    output, lexicon = tmp_path / "out.arpa", tmp_path / "words.txt"
    options = ["--lexicon", str(lexicon), "--case", "upper", "--characters", "ABCEHTÉ"]
    assert take(source, output, *options) == 0
    expected = ARPA.replace("The", "THE").replace("cat", "CAT").replace("café", "CAFÉ")
    assert output.read_text() == expected
    assert lexicon.read_text().split() == ["THE", "CAT"]
    assert "1 with other characters left out" in capsys.readouterr().out
    kenlm = pytest.importorskip("kenlm")
    assert kenlm.Model(str(output)).score("THE CAT", eos=False) == pytest.approx(-0.3, abs=1e-5)


def test_a_plain_model_stays_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "lm.arpa"
    source.write_text(ARPA)
    assert take(source, tmp_path / "out.arpa") == 0
    assert (tmp_path / "out.arpa").read_text() == ARPA
    assert source.exists()


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("no model", [], "no ARPA file"),
        (ARPA[: ARPA.index("\\end")], [], "cut short"),
        (ARPA.replace("cat", "the"), ["--case", "lower"], "two of its words are one"),
        (ARPA, ["--lexicon", "words", "--characters", "xyz"], "none of the model's words"),
    ],
)
def test_what_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, options: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lm.arpa").write_text(content)
    with pytest.raises(UserError, match=says):
        take("lm.arpa", tmp_path / "out.arpa", *options)
    assert not (tmp_path / "words").exists()
    with pytest.raises(UserError, match="no such file"):
        take("none.arpa", tmp_path / "out.arpa")


@pytest.mark.parametrize(("line", "weight"), [(9, "-0.2"), (15, "-0.2")])
def test_a_weight_that_is_no_number_is_named_with_its_line(
    tmp_path: Path, line: int, weight: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ARPA.splitlines()
    assert weight in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(weight, "nan")
    (tmp_path / "lm.arpa").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=rf"lm\.arpa, line {line}: nan is no weight"):
        take(tmp_path / "lm.arpa", tmp_path / "out.arpa")
    assert not (tmp_path / "out.arpa").exists()
