"""Texts of utterances in the formats that people have: one reader each, all to `Transcript`s by id.

| format | as | an utterance is |
|---|---|---|
| lhotse | cuts or supervisions, .jsonl[.gz] | a cut, or a supervision |
| asr | what `asr decode` writes, .jsonl | a line |
| nemo | JSON lines with audio_filepath and text, hypotheses in pred_text | a line; its id is the file's path |
| kaldi | `text`: id, space, words | a line |
| lines | words alone | a line; its id is the line's number |
| tsv | id, TAB, text | a line |
| trn | NIST: words (id) | a line |
| stm | NIST: file channel speaker begin end [<labels>] words | a line; its id is FILE-CHANNEL-BEGIN-END |
| ctm | NIST: file channel begin duration word [confidence] | a file and channel; or a segment of an stm |
| librispeech | a folder with *.trans.txt below it | a line of those |
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from asr.errors import UserError
from asr.evaluation.ctm import FORMAT_OPTIONS, read_ctm
from asr.evaluation.transcript_lines import (
    PARSERS,
    LineError,
    Role,
    Transcript,
    json_record,
    names_columns,
    numbered_lines,
)

FORMATS = ("lhotse", "asr", "nemo", "kaldi", "lines", "tsv", "trn", "stm", "ctm", "librispeech")


def read_transcripts(path: Path, role: Role, kind: str | None = None) -> dict[str, Transcript]:
    """Utterances by id, in the order of the file; `kind` is one of FORMATS, or None to look.

    Raises UserError with file, line and remedy.
    """
    kind = kind or guess_format(path)
    if kind == "ctm":
        return {
            name: Transcript(name, " ".join(word.text for word in words))
            for name, words in read_ctm(path).items()
        }
    found: dict[str, Transcript] = {}
    first: dict[str, str] = {}
    for file in sorted(path.rglob("*.trans.txt")) if kind == "librispeech" else [path]:
        for number, line in numbered_lines(file, also_empty=kind == "lines"):
            where = f"{file}, line {number}"
            try:
                one = _parsed(kind, number, line, role)
            except LineError as fault:
                raise fault.at(where) from None
            if one is None:
                continue
            if one.id in found:
                raise UserError(
                    f"{where}: id '{one.id}' was already in {first[one.id]}", "keep one of them"
                )
            found[one.id], first[one.id] = one, where
    if not found:
        raise UserError(
            f"{path}: no utterance in it (read as {kind})", f"name its format: {FORMAT_OPTIONS}"
        )
    return found


def _parsed(kind: str, number: int, line: str, role: Role) -> Transcript | None:
    if kind == "lines":
        return Transcript(f"line {number}", " ".join(line.split()))
    if kind == "tsv" and number == 1 and names_columns(line):
        return None
    return PARSERS[kind](line, role)


def guess_format(path: Path) -> str:
    """By the name, and by the first lines. Raises UserError where they do not tell."""
    if path.is_dir():
        if next(path.rglob("*.trans.txt"), None) is None:
            raise UserError(
                f"{path}: a folder without *.trans.txt", "name a file, or give --format"
            )
        return "librispeech"
    if path.is_fifo():  # <(a command)
        raise UserError(
            f"{path}: a pipe is read once, and its format is not known",
            f"name it: {FORMAT_OPTIONS}; or write it to a file",
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder", "check the path")
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix in (".trn", ".stm", ".ctm", ".tsv"):
        return suffix[1:]
    if suffix in (".jsonl", ".json", ".manifest"):
        return _guess_json(path)
    lines = [line for _, line in itertools.islice(numbered_lines(path), _LOOKED_AT)]
    if lines and lines[0].lstrip().startswith("{"):
        return _guess_json(path)
    if lines and all(re.search(r"\([^\s()]+\)\s*$", line) for line in lines):
        return "trn"
    if lines and "\t" in lines[0] and suffix != ".csv":
        return "tsv"
    ids = [line.split()[0] for line in lines]
    times = all(re.match(r"\S+\s+\S+\s+(\S+\s+)?[\d.]+\s+[\d.]+(\s|$)", line) for line in lines)
    are_ids = all(re.search(r"\d", one) and not re.search(r"[,;|]", one) for one in ids)
    if suffix != ".csv" and not (lines and times) and (name == "text" or are_ids):
        return "kaldi"
    may_be = (
        "comma-separated, which is not read, or plain text"
        if suffix == ".csv" or all(re.search("[,;|]", line) for line in lines)
        else "ctm or stm, or Kaldi text"
        if times
        else "Kaldi text (id, space, words), or words alone"
    )
    raise UserError(
        f"{path}: its lines ('{lines[0][:60] if lines else ''}') may be {may_be}",
        f"say which: {FORMAT_OPTIONS} (kaldi; lines, for words alone), or write id, TAB, text into a .tsv",
    )


_LOOKED_AT = 1_000


def _guess_json(path: Path) -> str:
    number, line = next(numbered_lines(path), (1, ""))
    try:
        record = json_record(line)
    except LineError as fault:
        raise fault.at(f"{path}, line {number}") from None
    if "audio_filepath" in record:
        return "nemo"
    return "lhotse" if {"supervisions", "recording_id", "recording"} & set(record) else "asr"
