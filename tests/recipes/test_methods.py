"""recipes/methods/README.md: its example is run, and its presets say what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import FLUENT, PLAIN, asr_command, final, losses

from asr.__main__ import main
from asr.config.recipe import load_config
from asr.pseudo_labels.ledger import read_ledger

METHODS = Path(__file__).parents[2] / "recipes/methods"
README = (METHODS / "README.md").read_text(encoding="utf-8")


def block(language: str, first_line: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    [found] = [text for text in blocks if text.startswith(first_line)]
    return str(found)


def test_the_method_of_your_own_runs_as_it_stands(
    recipe: Path, fluent: Path, tmp_path: Path
) -> None:
    example = block("python", "# sure_frames.py")
    assert len(example.strip().splitlines()) <= 20
    (tmp_path / "sure_frames.py").write_text(example, encoding="utf-8")
    preset = block("yaml", "# sure_frames.yaml")
    (tmp_path / "sure_frames.yaml").write_text(preset, encoding="utf-8")
    own = {"base": [str(recipe), "sure_frames.yaml"], "output": "run"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    fork = [*PLAIN, *FLUENT, f"fork_from={final(fluent)}", "pseudo_label.start_hours=0.12"]
    command = [*asr_command(), "train", "own.yaml", *fork]

    def texts(output: str, *settings: str) -> set[str]:
        arguments = [*command, f"output={output}", "trainer.total_hours=0.13", *settings]
        subprocess.run(arguments, check=True, cwd=tmp_path, capture_output=True)
        assert losses(tmp_path / output)
        return set(read_ledger(tmp_path / output, "labels")["text"].to_pylist())

    assert any(texts("run"))
    assert texts("unsure", "pseudo_label.options.least_posterior=1.01") == {""}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["pseudo_label.decision=nowhere.py:Some"], "no file nowhere.py"),
        (["pseudo_label.decision=own.py:Missing"], "has no class 'Missing'"),
        (["pseudo_label.teacher=own.py:Other"], "derives from asr.teacher.Teacher"),
        (["pseudo_label.decision=broken.py:Some"], "cannot be loaded: ZeroDivisionError"),
        (
            ["pseudo_label.decision=own.py:Unfinished"],
            "lacks tokens, which LabelDecoder wants of it",
        ),
        (["pseudo_label.decision=leaves.py:Some"], "cannot be loaded: SystemExit: 3"),
        (["pseudo_label.options={since: 2024-01-01}"], "pseudo_label.options"),
        (["pseudo_label.decision=gredy"], "did you mean 'greedy'?"),
    ],
)
def test_what_is_wrong_with_a_method_is_said_in_a_line(
    settings: list[str],
    said: str,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    own = (
        "from asr.pseudo_labels import LabelDecoder\n"
        "class Other: pass\nclass Unfinished(LabelDecoder): pass\n"
    )
    (tmp_path / "own.py").write_text(own, encoding="utf-8")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    for command in ("train", "check"):
        assert main([command, str(recipe), "output=run", *settings]) == 2
        output = capsys.readouterr()
        assert said in output.out + output.err


def test_presets_are_what_the_table_says() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\].*?\| `(\w+)[`:].*?\| `(\w+)`.*?\| `(\w+)`", README, re.MULTILINE
    )
    assert len(rows) == 7
    for name, *axes in rows:
        policy = load_config(METHODS / f"{name}.yaml", ["corpus.untranscribed=[some]"]).pseudo_label
        assert [policy.teacher, policy.schedule, policy.decision] == axes, name
