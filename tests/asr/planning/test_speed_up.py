"""`asr plan --kappas`: the wall-clock by kappa, and where it stops paying."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipe_paths import LIBRISPEECH

from asr.cli import plan
from asr.errors import UserError


def rows(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, float | None]]:
    given = [str(LIBRISPEECH), "--ranks", "8", "--throughput", "100", "--json", *options]
    assert plan.main(given) == 0
    found: list[dict[str, float | None]] = json.loads(capsys.readouterr().out)
    return found


def test_with_a_free_network_twice_the_ranks_take_half_the_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    free = ["--bandwidth-gb-per-second", "1e12", "--latency-microseconds", "0"]
    one, two, four = rows(capsys, "--kappas", "4,1,2", *free)
    assert [o["ranks"] for o in (one, two, four)] == [8, 16, 32]
    assert four["speed_up"] == pytest.approx(4.0)
    assert [two["per_doubling"], four["per_doubling"]] == pytest.approx([2.0, 2.0])
    slow = rows(capsys, "--kappas", "1,2,4", "--bandwidth-gb-per-second", "0.01")
    assert (slow[2]["per_doubling"] or 0.0) <= 2.0
    assert (slow[0]["wall_hours"] or 0.0) > (one["wall_hours"] or 0.0)


def test_it_says_where_it_stops_paying_and_what_the_noise_scale_supports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {"step": 1, "hours": 2.0, "gradient_signal": 0.5, "gradient_noise_seconds": 2320.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line | {"loss": 1.0}) + "\n")
    command = [str(LIBRISPEECH), "--ranks", "8", "--throughput", "100", "--run", str(tmp_path)]
    assert plan.main([*command, "--kappas", "1,2,4,16", "--pays-above", "2.5"]) == 0
    said = capsys.readouterr().out
    assert "it stops paying at kappa 2: less than 2.5 times as fast a doubling" in said
    assert "the batch is above the noise scale" in said
    assert "assumed: the same hours of audio" in said
    assert plan.main([*command, "--kappas", "1,2,16", "--pays-above", "1"]) == 0
    assert "the rule ends before kappa 16" in capsys.readouterr().out


def test_a_bench_gives_the_speed_of_each_phase_and_the_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = {"bandwidth_gb_per_second": 2.0, "latency_microseconds": 50.0}
    bench = tmp_path / "bench.json"

    def hours(*options: str, **speeds: float) -> list[float | None]:
        measured = {name: {"compute_throughput": speed} for name, speed in speeds.items()}
        bench.write_text(json.dumps({"speeds": measured, "network": network}))
        command = [str(LIBRISPEECH), "--ranks", "8", "--json", "--kappas", "1,2,4", *options]
        assert plan.main(command) == 0
        return [one["wall_hours"] for one in json.loads(capsys.readouterr().out)]

    given = [part for name, value in network.items() for part in (_option(name), str(value))]
    measured = hours("--bench", str(bench), supervised=100.0, pseudo_labelled=100.0)
    assert measured == hours("--throughput", "100", *given)
    assert None not in measured
    slower = hours("--bench", str(bench), supervised=100.0, pseudo_labelled=50.0)
    assert all(one < two for one, two in zip(measured, slower, strict=True) if one and two)
    with pytest.raises(UserError, match="--bench: has measured byol"):
        hours("--bench", str(bench), byol=100.0)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kappas", "1,2"], "wants a speed to reckon with"),
        (["--kappas", "1,1", "--throughput", "9"], "different positive numbers"),
        (["--kappas", "0.3", "--throughput", "9"], "no whole number"),
    ],
)
def test_what_cannot_be_reckoned_is_refused(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan.main([str(LIBRISPEECH), *options])
