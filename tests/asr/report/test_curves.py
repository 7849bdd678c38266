"""Curves can be read on light and on dark."""

from __future__ import annotations

from asr.report import curves


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.1)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_curves_read_on_light_and_dark() -> None:
    styles = [
        curves.TEACHER,
        curves.STUDENT,
        curves.SUPERVISED,
        curves.SUPERVISED_STUDENT,
        *curves.OTHERS,
    ]
    for style in styles:
        light = (luminance("#fcfcfb") + 0.05) / (luminance(style.colour) + 0.05)
        dark = (luminance(style.colour) + 0.05) / (luminance("#14181d") + 0.05)
        assert min(light, dark) >= 3, style.colour
    assert len({style.dashes for style in styles[:4]}) == 4
