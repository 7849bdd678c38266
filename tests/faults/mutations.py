"""Files spoilt, one way at a time, and what a command makes of them in a process of its own."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MOST_SECONDS = 40
"""Of one command on these few files: what takes longer hangs."""
MOST_BYTES = 6 << 30
"""Of address space beyond what the campaign's own process has."""

INDEX = "data/.index/"
"""Where the indexes of the world's manifests lie."""
Mutate = Callable[[bytes, random.Random], bytes]

_HUGE = [10**400, 10**19, 2**31, -1, 0, 1e308, float("nan"), float("inf"), -1e-300]
_TYPES: list[Any] = [None, True, "text", "", 3, 0.5, [], [1, "a"], {}, {"a": 1}, "\ud800", "\u00a0"]


def flip(content: bytes, chosen: random.Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(chosen.choice([1, 1, 1, 8])):
        if spoilt:
            spoilt[chosen.randrange(len(spoilt))] ^= 1 << chosen.randrange(8)
    return bytes(spoilt)


def truncate(content: bytes, chosen: random.Random) -> bytes:
    return content[: chosen.choice([0, chosen.randint(0, len(content)), max(0, len(content) - 1)])]


def insert(content: bytes, chosen: random.Random) -> bytes:
    """Bytes that are nothing in most formats: NUL, a half character, a long run, a line end of old."""
    place = chosen.randint(0, len(content))
    more = chosen.choice([b"\0", b"\xff", b"\xc3", b"x" * 100_000, b"\r", b"\x85", b"\n\n", b"\t"])
    return content[:place] + more + content[place:]


def change_lines(content: bytes, chosen: random.Random) -> bytes:
    """One line doubled, lost, or in another's place."""
    lines = content.splitlines(keepends=True) or [b""]
    at = chosen.randrange(len(lines))
    way = chosen.choice(["double", "lose", "swap"])
    if way == "double":
        lines.insert(at, lines[at])
    elif way == "lose":
        del lines[at]
    else:
        chosen.shuffle(lines)
    return b"".join(lines)


def recode(content: bytes, chosen: random.Random) -> bytes:
    text = content.decode("utf-8", errors="replace")
    way = chosen.choice(["utf-16", "latin-1", "utf-8-sig", "utf-32", "cp1251", "crlf"])
    if way == "crlf":
        return text.replace("\n", "\r\n").encode()
    return text.encode(way, errors="replace")


def retype(content: bytes, chosen: random.Random) -> bytes:
    """A value of JSON, JSON lines or YAML of another type."""
    return _change_value(content, chosen, _TYPES)


def enlarge(content: bytes, chosen: random.Random) -> bytes:
    """A value huge, negative or not a number."""
    return _change_value(content, chosen, _HUGE)


def _change_value(content: bytes, chosen: random.Random, values: list[Any]) -> bytes:
    lines = content.splitlines()
    with contextlib.suppress(ValueError):
        if len(lines) > 1 and all(isinstance(json.loads(line), dict) for line in lines):
            at = chosen.randrange(len(lines))
            lines[at] = json.dumps(_changed(json.loads(lines[at]), chosen, values)).encode()
            return b"\n".join(lines) + b"\n"
    with contextlib.suppress(ValueError):
        return json.dumps(_changed(json.loads(content), chosen, values)).encode()
    with contextlib.suppress(yaml.YAMLError, ValueError):
        tree = yaml.safe_load(content)
        if isinstance(tree, dict):
            return yaml.safe_dump(_changed(tree, chosen, values)).encode(errors="surrogatepass")
    return flip(content, chosen)


def _changed(tree: Any, chosen: random.Random, values: list[Any]) -> Any:
    """The tree with one value changed, at any depth."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    if not keys:
        return chosen.choice(values)
    key = chosen.choice(keys)
    if isinstance(tree[key], (dict, list)) and chosen.random() < 0.8:
        tree[key] = _changed(tree[key], chosen, values)
    elif isinstance(tree, dict) and chosen.random() < 0.1:
        del tree[key]
    else:
        tree[key] = chosen.choice(values)
    return tree


TEXT: list[Mutate] = [flip, truncate, insert, change_lines, recode, retype, enlarge]
BINARY: list[Mutate] = [flip, truncate, insert]


def spoil(path: Path, chosen: random.Random) -> str:
    """Spoil a file in one way; returns which. Where it is packed, sometimes what is in it.

    Its time stays, as it does where a disk spoils it.
    """
    state = path.stat()
    if chosen.random() < 0.05:
        path.unlink()
        way = chosen.choice(["missing", "a folder", "a FIFO", "a link to itself"])
        if way == "a folder":
            path.mkdir()
        elif way == "a FIFO":
            os.mkfifo(path)
        elif way == "a link to itself":
            path.symlink_to(path)
        return way
    content = path.read_bytes()
    packed = path.suffix == ".gz" and chosen.random() < 0.7
    if packed:
        content = gzip.decompress(content)
    is_text = packed or _is_text(content)
    mutate = chosen.choice(TEXT if is_text else BINARY)
    spoilt = mutate(content, chosen)
    path.write_bytes(gzip.compress(spoilt, mtime=0) if packed else spoilt)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    return f"{mutate.__name__}{' of what is packed' if packed else ''}"


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode("utf-8")
    except UnicodeDecodeError:
        return False


@dataclass(frozen=True)
class Outcome:
    """Of one command."""

    status: int
    """Of the process; minus the signal that ended it."""
    output: str

    @property
    def fault(self) -> str | None:
        if self.status == -signal.SIGALRM:
            return "hangs"
        if "Traceback (most recent call last)" in self.output:
            return "tracebacks"
        if self.status not in (0, 2) and not 128 < self.status < 192:
            return "other statuses"
        return None


def run_forked(arguments: list[str], folder: Path) -> Outcome:
    """`asr ARGUMENTS` in a copy of this process that has imported all already."""
    log = folder.with_suffix(".out")
    with log.open("wb") as output:
        child = os.fork()
        if child == 0:
            _become(arguments, folder, output.fileno())
    _, waited = os.waitpid(child, 0)
    return Outcome(
        os.waitstatus_to_exitcode(waited), log.read_text(encoding="utf-8", errors="replace")
    )


def _become(arguments: list[str], folder: Path, output: int) -> None:
    """Does not return."""
    status = 1
    try:
        os.setpgid(0, 0)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, errors="backslashreplace")
        os.chdir(folder)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # also where no Python runs
        signal.alarm(MOST_SECONDS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, used + MOST_BYTES))
        from asr.__main__ import main

        status = main(arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


@dataclass(frozen=True)
class Case:
    """A command, the files that it reads, and what it says or writes that counts."""

    command: str
    files: list[str]
    """Globs below the world's folder."""
    results: tuple[str, ...] = ()
    """Globs, of each the last file; none: the output."""
    checksummed: tuple[str, ...] = ()
    """Of the files those, by the beginning of their path, whose SHA-256 the command should compare."""

    @property
    def arguments(self) -> list[str]:
        return self.command.split()


@dataclass
class Figures:
    """Of one command."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def say(self, command: str) -> str:
        counted = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return "\n".join([f"{command}: {counted}", *self.faults])


class World:
    """A folder of everything, that a command may spoil: it is made anew for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sound = folder.with_name(f"{folder.name}.sound")
        shutil.copytree(folder, self.sound)

    def files(self, glob: str) -> list[Path]:
        """Sound files; of checkpoints the latest's, which is the one that is read."""
        found = sorted(self.sound.glob(glob))
        return found[-1:] if "hours-*" in glob else found

    def renew(self) -> None:
        for path in (self.folder, *self.folder.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(self.folder)
        shutil.copytree(self.sound, self.folder)

    def result(self, case: Case, outcome: Outcome) -> str:
        """What counts of a command that has ended, but for wall time."""
        if not case.results:
            return outcome.output
        found = [sorted(self.folder.glob(glob))[-1:] for glob in case.results]
        digests = [hashlib.sha256(_timeless(path)).hexdigest() for [path] in filter(None, found)]
        return " ".join(digests)

    def index_anew(self, case: Case, name: str) -> str:
        """Let the command make the index of its manifest. Returns what the file `name` of it is called now.

        The files that the command has made besides go, and those that it has changed are as before; the
        manifests are not touched, since their index would not be believed any more.
        """
        shutil.rmtree(self.folder / INDEX)
        run_forked(case.arguments, self.folder)
        for path in [path for path in self.folder.rglob("*") if path.is_file()]:
            place = path.relative_to(self.folder)
            if place.parts[0] == "data":
                continue
            if (self.sound / place).is_file():
                shutil.copy2(self.sound / place, path)
            else:
                path.unlink()
        [made] = (self.folder / INDEX).glob(f"dev-*/{Path(name).name}")
        return str(made.relative_to(self.folder))


def _timeless(path: Path) -> bytes:
    return re.sub(rb'"(data_wait_share|wall_seconds)": [^,}]+', b"", path.read_bytes())


def mutate_inputs(command: str, case: Case, world: World, count: int, seed: int) -> Figures:
    """So many times the command on files of which one is spoilt."""
    figures = Figures()
    world.renew()
    sound = run_forked(case.arguments, world.folder)
    assert sound.status == 0, f"{command} on sound files: {sound.output}"
    expected = world.result(case, sound)
    assert len(expected.split()) >= len(case.results), f"{command} writes no {case.results}"
    groups = [world.files(glob) for glob in case.files]
    assert all(groups), f"{command}: {case.files}"
    for number in range(count):
        # Every kind of file as often as another, however many there are.
        chosen = random.Random(f"{seed} {command} {number}")
        name = str(chosen.choice(groups[number % len(groups)]).relative_to(world.sound))
        world.renew()
        if INDEX in name:  # a copied one is not believed: it is made again before it is spoilt
            name = world.index_anew(case, name)
        way = spoil(world.folder / name, chosen)
        begin = time.monotonic()
        outcome = run_forked(case.arguments, world.folder)
        figures.counts["mutations"] += 1
        figures.counts[f"status {outcome.status}"] += 1
        fault = outcome.fault
        changed = (world.folder / name).exists()
        is_silent = (
            outcome.status == 0
            and changed
            and name.startswith(case.checksummed or "\0")
            and Path(name).name not in outcome.output
            and world.result(case, outcome) != expected
        )
        if is_silent:
            fault = "silently other results"
        if fault:
            figures.counts[fault] += 1
            lines = outcome.output.strip().splitlines() or [""]
            seconds = time.monotonic() - begin
            figures.faults.append(
                f"  {number}: {name}, {way}: {fault}, status {outcome.status}, {seconds:.0f} s: "
                f"{lines[-1][:300]}"
            )
    world.renew()
    return figures
