"""A decoded set does not depend on the batch, and keeps every field."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from conftest import needs_beam_search, read_lines

from asr.__main__ import main
from asr.data.dataset import SpeechSet
from asr.decoding.beam import BeamDecoder, BeamSettings
from asr.decoding.decode_dataset import decode_set
from asr.decoding.greedy import greedy_only
from asr.model.model_folder import find_checkpoint, load_model


@needs_beam_search
def test_decoding_is_the_same_for_any_batch(trained: Path, corpus: Path) -> None:
    model = load_model(find_checkpoint(trained), "teacher", torch.device("cpu"))
    speech = SpeechSet.load(corpus / "dev.jsonl.gz")
    beam = BeamDecoder(model.tokenizer, BeamSettings())
    for decoder in (greedy_only, beam):
        found = [
            {r["id"]: r["hypothesis"] for r in decode_set(model, speech, decoder, seconds)}
            for seconds in (0.1, 4.0, 500.0)
        ]
        assert found[0] == found[1] == found[2]


def test_decoding_notes_the_audio_and_every_field(
    fluent: Path, corpus: Path, tmp_path: Path
) -> None:
    from lhotse import CutSet

    cuts = list(CutSet.from_file(corpus / "dev.jsonl.gz"))
    for number, cut in enumerate(cuts):
        cut.supervisions[0].gender = "F" if number % 2 else "M"
        cut.supervisions[0].custom = {"room": f"r{number % 3}", "id": "hostile", "list": [1]}
    manifest = tmp_path / "dev.jsonl.gz"
    CutSet.from_cuts(cuts).to_file(manifest)
    run = tmp_path / "run"
    output = run / "decode/dev/teacher.jsonl"
    assert main(["decode", str(fluent), str(manifest), "--output", str(output)]) == 0
    for record in read_lines(output):
        assert Path(record["audio"]).is_file()
        assert record["id"] != "hostile"
        assert "list" not in record
        # It reads the tones without an error: both rows are the same words at the same times.
        assert record["words"] == record["reference_words"]
        assert [w["text"] for w in record["words"]] == record["reference"].split()
    assert main(["report", str(run), "--by", "gender,room"]) == 0
    by = json.loads((run / "report/results.json").read_text())["by"]
    assert set(by["room"]["teacher"]) == {"r0", "r1", "r2"}
    assert set(by["gender"]["teacher"]) == {"F", "M"}
