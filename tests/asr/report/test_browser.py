"""The report in a real browser: no console message, light and dark, on a desk and on a phone.

Screenshots stay in build/screenshots. Debian's chromium, where it is installed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import read_lines
from matplotlib.image import imread
from report_helpers import decode, train, write_lines

from asr.report.comparison_page import write_comparison
from asr.report.run_page import write_report

SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("browser") / "run"
    train(run, labels=True)
    for model, wrong in (("supervised", 4), ("student", 3), ("teacher", 2)):
        decode(run, model, wrong)
    path = run / "decode" / "test" / "teacher.jsonl"
    hostile = "<script>console.error('ran')</script>"
    path.write_text(path.read_text().replace('"hypothesis": "', f'"hypothesis": "{hostile} ', 5))
    recording = run / "speech.wav"
    soundfile.write(recording, np.random.default_rng(0).normal(0, 0.1, 16_000 * 14), 16_000)
    records = read_lines(path)
    for record in records:
        words = [{"text": w, "begin": 0.5, "end": 0.9} for w in record["hypothesis"].split()[:1]]
        record |= {"audio": str(recording), "words": words}
    write_lines(path, records)
    return write_report(run)


@pytest.fixture(scope="module")
def comparison(page: Path) -> Path:
    """A page of two runs."""
    run = page.parents[1]
    other = run.with_name("a_run_whose_name_is_far_too_long_for_a_legend_or_for_a_phone")
    train(other, labels=False)
    decode(other, "teacher", 3)
    return write_comparison([run, other])


@pytest.mark.parametrize(("device", "width"), [("desk", 1280), ("phone", 390)])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["page", "comparison"])
def test_a_page_opens_without_a_murmur(
    request: pytest.FixtureRequest, kind: str, device: str, width: int, theme: str
) -> None:
    page: Path = request.getfixturevalue(kind)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    picture = SCREENSHOTS / f"{'report' if kind == 'page' else kind}-{device}-{theme}.png"
    picture.unlink(missing_ok=True)
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--enable-logging=stderr", f"--window-size={width},2400", f"--screenshot={picture}"),
        f"--blink-settings=preferredColorScheme={0 if theme == 'dark' else 1}",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert picture.is_file(), done.stderr
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    pixels = imread(picture)[..., :3]
    assert pixels.shape[1] == width
    background = float(np.median(pixels))
    assert background > 0.9 if theme == "light" else background < 0.25
    assert float(pixels.std()) > 0.05, "the page is empty"


@pytest.mark.parametrize("kind", ["page", "comparison"])
def test_a_page_is_no_wider_than_a_phone(request: pytest.FixtureRequest, kind: str) -> None:
    """What is too wide scrolls by itself: the document does not."""
    page: Path = request.getfixturevalue(kind)
    probe = page.with_name("probe.html")
    script = "<script>document.title = 'width ' + document.documentElement.scrollWidth</script>"
    probe.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--window-size=500,2400", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    title = done.stdout.partition("<title>")[2].partition("</title>")[0]
    assert title.startswith("width "), done.stderr
    assert int(title.split()[1]) <= 500
