"""Whoever installs the wheel needs no clone: it carries the recipes, and copies of them run.

ASR_TEST_FESTVOX_RU: the package of that speech (.deb), or a folder that it was unpacked into, for a whole run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest
from recipe_paths import RECIPES

ROOT = RECIPES.parent
FESTVOX_RU = Path(os.environ.get("ASR_TEST_FESTVOX_RU", "/none"))
WITHOUT_KENLM = """
import importlib.metadata as metadata
of_any = metadata.version
def version(name):
    if name == "kenlm":
        raise metadata.PackageNotFoundError(name)
    return of_any(name)
metadata.version = version
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what the Dockerfile copies, so that the tree stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    dockerfile = (ROOT / ".docker/Dockerfile").read_text(encoding="utf-8")
    copied = [line.split()[1:-1] for line in dockerfile.splitlines() if line.startswith("COPY")]
    parts = [part for sources in copied for part in sources]
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{part}" for part in parts} == {line for line in kept if line.startswith("!")}
    (folder / "tree").mkdir()
    for part in parts:
        source, place = ROOT / part, folder / "tree" / part
        if source.is_dir():
            shutil.copytree(source, place, ignore=unwanted)
        else:
            shutil.copy(source, place)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, folder / "tree"], check=True, timeout=120)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of an environment with the wheel in it; what it depends on is borrowed from this one."""
    environment = tmp_path_factory.mktemp("environment with spaces") / "среда"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin/python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-index", wheel], check=True, timeout=120)
    paths = sysconfig.get_paths(vars={"base": str(environment), "platbase": str(environment)})
    lend(Path(paths["purelib"]))
    return environment / "bin"


def lend(site_packages: Path) -> None:
    """Let an environment find what is installed in this one."""
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site_packages / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")


def run(command: list[str | Path], folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """In a folder, with an environment that is active."""
    environment = os.environ | {"PATH": f"{path}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_it_carries_every_file_of_recipes_and_tools(wheel: Path) -> None:
    wanted = {
        f"asr/{file.relative_to(ROOT)}"
        for folder in (RECIPES, ROOT / "tools")
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert wanted <= names
    assert {name.split("/")[0] for name in names} == {"asr", "asr_ema-0.1.0.dist-info"}


def test_a_copied_recipe_finds_the_environment_that_is_active(
    installed: Path, tmp_path: Path
) -> None:
    copied = run(["asr", "recipes", "copy", "festvox_ru"], tmp_path, installed)
    assert copied.returncode == 0, copied.stderr
    assert "run it: bash recipes/festvox_ru/run.sh" in copied.stdout
    helped = run(["bash", "recipes/festvox_ru/run.sh", "--help"], tmp_path, installed)
    assert "--quick" in helped.stdout
    made = run(["bash", "tools/make_venv.sh", "beam"], tmp_path, installed)
    assert made.returncode == 0, made.stderr
    where = ["-c", "import sys, asr; print(asr.__file__, sys.prefix)"]
    found = run([".venv/bin/python", *where], tmp_path, installed).stdout
    assert found.split(" /")[0].startswith(str(installed.parent)), found
    assert run([".venv/bin/torchrun", "--help"], tmp_path, installed).returncode == 0
    recipe = "recipes/festvox_ru/methods/ipl.yaml"
    shown = run([".venv/bin/asr", "train", recipe, "--print-config"], tmp_path, installed)
    assert "schedule: rounds" in shown.stdout, shown.stderr


def test_a_project_of_the_user_s_is_left_alone(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/mine").touch()
    run(["asr", "recipes", "copy", "festvox_ru"], tmp_path, installed)
    done = run(["bash", "tools/make_venv.sh"], tmp_path, installed)
    assert done.returncode == 2
    assert ".venv: has no asr" in done.stderr
    assert (tmp_path / ".venv/mine").exists()


def test_a_copy_without_an_environment_says_what_to_do(installed: Path, tmp_path: Path) -> None:
    run(["asr", "recipes", "copy", "festvox_ru"], tmp_path, installed)
    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", empty], check=True)
    done = run(["bash", "recipes/festvox_ru/run.sh", "--quick"], tmp_path, empty / "bin")
    assert done.returncode == 2
    assert "activate the environment that has" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_missing_extra_is_named_before_anything_is_fetched(
    installed: Path, tmp_path: Path
) -> None:
    run(["asr", "recipes", "copy", "festvox_ru"], tmp_path, installed)
    [site] = (installed.parent / "lib").glob("python*/site-packages")
    (site / "without_kenlm.py").write_text(WITHOUT_KENLM, encoding="utf-8")
    pth = site / "without_kenlm.pth"
    pth.write_text("import without_kenlm\n", encoding="utf-8")
    try:
        done = run(["bash", "recipes/festvox_ru/run.sh", "--quick"], tmp_path, installed)
    finally:
        pth.unlink()
    assert done.returncode == 2
    assert "kenlm is missing; pip install 'asr-ema[beam]'" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not FESTVOX_RU.exists(), reason="no speech")
def test_a_copied_recipe_ends_in_an_exported_model(installed: Path, tmp_path: Path) -> None:
    """Minutes of training, on 2 cores."""
    pytest.importorskip("onnxscript")
    quick = "exp/festvox_ru_quick"
    for command in (
        ["asr", "recipes", "copy", "festvox_ru"],
        ["bash", "recipes/festvox_ru/run.sh", "--quick", "--source", FESTVOX_RU],
        ["asr", "report", quick],
        ["asr", "export", quick, "--to", "hf", "--output", "hf"],
        ["asr", "export", quick, "--to", "onnx", "--output", "onnx"],
    ):
        done = run(command, tmp_path, installed)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / quick / "report/index.html").is_file()
    assert "moonshine other texts: 0 of" in done.stdout


@pytest.mark.slow
def test_the_commands_of_the_dockerfile_run(wheel: Path, tmp_path: Path) -> None:
    """But for apt-get's, and with what is installed here lent to the new environment."""
    text = (ROOT / ".docker/Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    [apt_get, make, install] = re.findall(r"^RUN (.*)$", text, re.MULTILINE)
    assert subprocess.run(["bash", "-n", "-c", apt_get], check=False).returncode == 0
    given = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE))
    environment = os.environ | {
        "PATH": f"{tmp_path}/asr/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "EXTRAS": given["EXTRAS"],
        "PIP_EXTRA_INDEX_URL": given["PIP_EXTRA_INDEX_URL"],
    }
    for command in (make, install):
        here = command.replace("/opt/asr", f"{tmp_path}/asr").replace(
            "/src", str(wheel.parent / "tree")
        )
        done = subprocess.run(
            ["bash", "-ec", here], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        [site_packages] = (tmp_path / "asr/lib").glob("python*/site-packages")
        lend(site_packages)
    assert "festvox_ru" in done.stdout
