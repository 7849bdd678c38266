"""A shell completes commands and options by what `asr completion` prints."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from asr.__main__ import COMMANDS, main

COMPLETE = """
source "$1"
COMP_WORDS=(asr "${@:2}")
COMP_CWORD=$(($# - 1))
COMP_LINE="${COMP_WORDS[*]}"
_shtab_asr asr "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "asr.bash"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as out:
        patch.setattr("sys.stdout", out)
        assert main(["completion", "bash"]) == 0
    return path


def completed(script: Path, *words: str) -> list[str]:
    command = ["bash", "-c", COMPLETE, "bash", str(script), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def test_it_is_a_sound_script(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_commands_and_their_options_are_completed(script: Path) -> None:
    assert completed(script, "tra") == ["train", "transcribe"]
    assert set(completed(script, "")) >= set(COMMANDS)
    assert completed(script, "train", "--pr") == ["--print-config"]
    assert completed(script, "decode", "--decoder", "b") == ["beam"]
    assert completed(script, "labels", "ex") == ["export"]
    assert completed(script, "prepare", "fes") == ["festvox_ru"]


def test_files_are_completed(script: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    assert completed(script, "train", f"{tmp_path}/rec") == [f"{tmp_path}/recipe.yaml"]
    assert completed(script, "report", f"{tmp_path}/rec") == [f"{tmp_path}/recipe.yaml"]


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert "print-config" in said
    if shutil.which(shell):
        (tmp_path / "asr").write_text(said)
        subprocess.run([shell, "-n", str(tmp_path / "asr")], check=True)
    with pytest.raises(SystemExit):
        main(["train"])  # parsers parse again
    assert "the following arguments are required: recipe" in capsys.readouterr().err
