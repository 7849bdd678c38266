"""Which checkpoint is in force, which is the best, which are removed: by descent, and at one moment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from asr.errors import UserError
from asr.model.lineage import check_files, identity_of, line_of, read_state, sealed
from asr.model.model_folder import find_checkpoint, pointed_at
from asr.training.checkpoints import publishing
from asr.training.checkpoints.publishing import (
    about_what_lies_there,
    newest,
    place_to_write,
    prune,
    publish,
    recover,
)


def write(run: Path, hours: float, parent: Path | None, wer: float | None, weights: str) -> Path:
    """A checkpoint that waits to be published; where it will be."""
    folder, name = run / "checkpoints", f"hours-{hours:011.4f}"
    place = place_to_write(folder, name)
    place.mkdir(parents=True)
    (place / "student.safetensors").write_text(weights)
    state = {"clock": {"seconds": hours * 3600}, "batches_drawn": hours, "dev_wer": wer}
    (place / "state.json").write_text(json.dumps(sealed(state, place, name, parent)))
    return folder / name


def save(run: Path, hours: float, parent: Path | None, wer: float | None, weights: str) -> Path:
    final = write(run, hours, parent, wer, weights)
    publish(run, final.name)
    return final


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Checkpoints at 1, 2 and 3 hours, of WER 50, 20 and 30."""
    parent = None
    for hours, wer in ((1, 50.0), (2, 20.0), (3, 30.0)):
        parent = save(tmp_path, hours, parent, wer, f"first {hours}")
    return tmp_path


def at(run: Path, hours: float) -> Path:
    return run / "checkpoints" / f"hours-{hours:011.4f}"


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_a_run_that_was_put_back_keeps_its_own_line(run: Path) -> None:
    (run / "latest").write_text(at(run, 1).name)
    assert pointed_at(run, "best") == at(run, 1)
    between = save(run, 1.5, at(run, 1), 45.0, "second 1.5")
    again = save(run, 3, between, 40.0, "second 3")
    assert find_checkpoint(run) == again
    assert (again / "student.safetensors").read_text() == "second 3"
    assert line_of(again) == [at(run, 1), between, again]
    assert find_checkpoint(run, best=True) == again  # 20 % is of the line that was left
    assert (run / "best").read_text().strip() == again.name
    left = again.with_name(f"{again.name}.left-1")
    assert (left / "student.safetensors").read_text() == "first 3"
    prune(run, again, keep_last=1)
    assert names(run) == [at(run, 2).name, again.name, left.name]
    [note] = about_what_lies_there(run, again)
    assert at(run, 2).name in note


def test_what_is_not_the_run_s_own_is_neither_removed_nor_counted(
    run: Path, tmp_path: Path
) -> None:
    folder = run / "checkpoints"
    shutil.copytree(at(run, 1), folder / f"{at(run, 1).name}-keep")
    shutil.copytree(at(run, 1), folder / "hours-best-so-far")
    away = tmp_path / "away"
    shutil.move(at(run, 1), away)
    at(run, 1).symlink_to(away)
    prune(run, at(run, 3), keep_last=1)
    theirs = [at(run, 1).name, f"{at(run, 1).name}-keep", "hours-best-so-far"]
    assert names(run) == sorted([*theirs, at(run, 2).name, at(run, 3).name])
    assert newest(run) == at(run, 3)


class Killed(BaseException):
    """In place of SIGKILL."""


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`latest` was moved and `best` not, or the first checkpoint of a run had no `latest`."""
    for first in (False, True):
        for moment in range(20):
            run = tmp_path / f"{first}-{moment}"
            before = None if first else save(run, 1, None, 50.0, "one")
            final = write(run, 2, before, 20.0, "two")
            left = [moment]

            def counted(name: str, left: list[int] = left) -> Callable[..., object]:
                do = getattr(Path, name)

                def done(*arguments: object, **options: object) -> object:
                    left[0] -= 1
                    if left[0] < 0:
                        raise Killed
                    return do(*arguments, **options)

                return done

            with monkeypatch.context() as patched:
                for name in ("rename", "replace", "unlink"):
                    patched.setattr(Path, name, counted(name))
                with suppress(Killed):
                    publish(run, final.name)
            recover(run)
            recover(run)
            now = pointed_at(run, "latest")
            assert now in (before, final)
            if now == final:
                assert pointed_at(run, "best") == final
                assert (run / "best").read_text().strip() == final.name
                prune(run, final, keep_last=5)
                assert set(names(run)) == {p.name for p in (before, final) if p}
            else:
                assert pointed_at(run, "best") == before
                assert not final.exists()
        assert left[0] >= 0, "more moments than were tried"


def test_what_was_being_published_gives_way_to_what_the_user_chose(run: Path) -> None:
    final = write(run, 4, at(run, 3), 10.0, "four")
    intent = {"name": final.name, "id": "", "latest": at(run, 3).name}
    intent["id"] = identity_of(place_to_write(run / "checkpoints", final.name)).id
    (run / "checkpoints" / publishing._INTENT).write_text(json.dumps(intent))
    (run / "latest").write_text(at(run, 2).name)
    recover(run)
    assert pointed_at(run, "latest") == at(run, 2)


@pytest.mark.parametrize("name", ["student.safetensors", "state.json"])
def test_a_flipped_byte_is_noticed(run: Path, name: str) -> None:
    path = at(run, 3) / name
    content = bytearray(path.read_bytes())
    place = content.index(b"3")
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: damaged .*SHA-256 differs"):
        check_files(at(run, 3), read_state(at(run, 3)))


def test_a_lost_file_is_noticed(run: Path) -> None:
    (at(run, 3) / "student.safetensors").unlink()
    with pytest.raises(UserError, match=r"student.safetensors: damaged \(is missing\)"):
        check_files(at(run, 3), read_state(at(run, 3)))


@pytest.mark.parametrize("content", [b"", b"\0" * 24, b"\xff", b"../x", b"hours-9"])
def test_a_damaged_latest_is_said(run: Path, content: bytes) -> None:
    (run / "latest").write_bytes(content)
    with pytest.raises(UserError, match="latest names no checkpoint"):
        find_checkpoint(run)
    assert newest(run) == at(run, 3)
    [note] = about_what_lies_there(run, at(run, 3))
    assert "going on from hours-000003.0000" in note


def test_a_damaged_best_is_said_and_another_one_takes_its_place(run: Path) -> None:
    (at(run, 2) / "state.json").write_text("")
    [note] = about_what_lies_there(run, at(run, 3))
    assert f"{at(run, 2)}/state.json: damaged" in note
    assert "delete its folder" in note
    last = save(run, 4, at(run, 3), 40.0, "first 4")
    assert (run / "best").read_text().strip() == at(run, 3).name
    shutil.rmtree(at(run, 2))  # as it says
    assert about_what_lies_there(run, last) == []


def test_a_damaged_latest_among_several_lines_is_for_the_user_to_mend(run: Path) -> None:
    save(run, 4, at(run, 2), None, "second 4")
    (run / "latest").unlink()
    with pytest.raises(UserError, match=r"does not descend from hours-000003\.0000"):
        newest(run)


def test_checkpoints_of_an_older_version_are_one_line(run: Path) -> None:
    for hours in (1, 2, 3):
        state = read_state(at(run, hours))
        del state["identity"]
        (at(run, hours) / "state.json").write_text(json.dumps(state))
    (run / "latest").write_text(at(run, 2).name)
    check_files(at(run, 2), read_state(at(run, 2)))
    assert line_of(at(run, 2)) == [at(run, 1), at(run, 2)]
    after = save(run, 4, at(run, 2), 60.0, "four")
    assert line_of(after) == [at(run, 1), at(run, 2), after]
    assert pointed_at(run, "best") == at(run, 2)
