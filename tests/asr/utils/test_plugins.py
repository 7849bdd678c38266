"""Plug-ins: a class or a function of a user's file, or a message that says why not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from asr.errors import UserError
from asr.pseudo_labels.decoders import LabelDecoder
from asr.utils.plugins import find_class, find_function, public_name


class Base(ABC):
    @abstractmethod
    def work(self) -> None: ...


class Ours(Base):
    def work(self) -> None: ...


def test_one_of_ours_needs_no_file() -> None:
    assert find_class("setting", "ours", {"ours": Ours}, Base) is Ours


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "from asr.labels.decisions import Decision\n",
            "asr.labels has moved; derive from asr.pseudo_",
        ),
        ("import no_such_package\n", "No module named 'no_such_package'; install that"),
        ("raise SystemExit(3)\n", "cannot be loaded: SystemExit: 3; fix the file"),
        ("Own = 3\n", "has no class 'Own' that derives from"),
    ],
)
def test_a_file_that_is_no_use_says_why(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "own.py").write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        find_class("setting", f"{tmp_path}/own.py:Own", {}, Base)
    assert message in str(refused.value)


def test_a_function_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    assert find_function("setting", path, "double")(4) == 8
    with pytest.raises(UserError, match="has no function 'triple'"):
        find_function("setting", path, "triple")


def test_a_base_is_named_by_the_path_that_stays() -> None:
    assert public_name(LabelDecoder) == "asr.pseudo_labels.LabelDecoder"
    assert public_name(UserError) == "asr.UserError"
