"""A run's folder as training and decoding leave it, made of invented numbers."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from asr import report


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def without_our_script(page: str) -> str:
    """A page without the one script that is ours, which is there as it was written; what is left has none."""
    ours = (Path(report.__file__).parent / "templates/utterances.js").read_text(encoding="utf-8")
    assert page.count(ours.strip()) <= 1
    rest = page.replace(f"<script>{ours.rstrip()}</script>", "").replace(
        f"<script>{ours}</script>", ""
    )
    assert "<script" not in rest.lower()
    return rest


def decode(run: Path, model: str, wrong: int, number: int = 40, folder: str = "test") -> None:
    records = []
    for i in range(number):
        words = [f"W{i}", "THE", "CAT", "SAT"]
        recognised = ["X" if (i + j) % 7 < wrong else word for j, word in enumerate(words)]
        records.append(
            {
                "id": f"u{i:03d}",
                "reference": " ".join(words),
                "hypothesis": " ".join(recognised),
                "seconds": 2.0 + i % 12,
                "speaker": f"s{i % 2}",
            }
        )
    write_lines(run / "decode" / folder / f"{model}.jsonl", records)


def train(run: Path, labels: bool) -> None:
    lines: list[dict[str, Any]] = []
    for step in range(1, 31):
        hours = step / 10
        on = labels and hours > 1
        lines.append(
            {
                "step": step,
                "hours": hours,
                "loss": 3 / hours,
                "loss_labelled": 3 / hours,
                "loss_pseudo_labelled": 2 / hours if on else None,
                "pseudo_labelled_share": 0.5 if on else 0.0,
                "pseudo_labels_dropped": {"too_short": 2, "low_confidence": 1} if on else {},
                "pseudo_label_confidence_measure": "likelihood",
                "pseudo_label_wer": 100 / hours if on else None,
                "pseudo_label_empty_share": 0.1 if on else None,
            }
        )
        if step % 10 == 0:
            for model in ("student", "teacher"):
                lines.append(
                    {"step": step, "hours": hours, "set": "dev", "model": model, "wer": 50 / hours}
                    | {"cer": 20 / hours}
                )
    write_lines(run / "metrics.jsonl", lines)


def make_run(folder: Path) -> Path:
    """A run with everything."""
    for model, wrong in (("supervised", 3), ("student", 2), ("teacher", 1)):
        decode(folder, model, wrong)
    train(folder, labels=True)
    card = {
        "kappa": 2.0,
        "reference": {"learning_rate": 0.001},
        "in_force": {"learning_rate": 0.0014},
    }
    (folder / "scaling.json").write_text(json.dumps(card))
    (folder / "environment.json").write_text(json.dumps({"torch": "2.9", "gpus": 8}))
    (folder / "config.yaml").write_text("name: my run\npseudo_label:\n  start_hours: 1.0\n")
    (folder / "decode/test/teacher.stamp.json").write_text(
        json.dumps({"weights_sha256": "ab" * 32})
    )
    return folder


VOID = {"meta", "br", "hr", "img", "link", "input"}


class Tags(HTMLParser):
    """Checks that tags are closed in order, and collects attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def values(self, name: str) -> list[str]:
        return [value or "" for _, key, value in self.attributes if key == name]


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []
    return tags
