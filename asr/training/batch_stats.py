"""What a global batch comes to: losses, audio, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from torch import Tensor

from asr.distributed.process_group import Ranks
from asr.model.ctc import collapse
from asr.model.tokenizer import BLANK


@dataclass
class BatchStats:
    """Sums over a global batch; a rank's own until `summed`."""

    loss_labelled: float = 0.0
    """In nats."""
    loss_pseudo_labelled: float = 0.0
    labelled_seconds: float = 0.0
    pseudo_labelled_seconds: float = 0.0
    """Untranscribed audio whose label was trained on."""
    micro_batches: int = 0
    """Those that were trained on."""
    labelled_frames: float = 0.0
    """Encoder frames of transcribed speech that was trained on; of these, and of its tokens:"""
    labelled_blank_frames: float = 0.0
    labelled_tokens: float = 0.0
    """Of the student's greedy output, as it trains."""
    transcript_tokens: float = 0.0
    infeasible_transcripts: int = 0
    non_finite: int = 0
    wait_seconds: float = 0.0
    non_finite_ids: list[str] = field(default_factory=list)
    """This rank's, by name; not summed."""

    @property
    def trained_seconds(self) -> float:
        """Audio whose transcript or label was trained on."""
        return self.labelled_seconds + self.pseudo_labelled_seconds

    def note_output(
        self, logits_BSV: Tensor, lengths_B: Tensor, transcripts: Sequence[Sequence[int]]
    ) -> None:
        """What the student writes for transcribed speech: logits (B, S, V) and lengths (B,) in frames."""
        paths_BS = logits_BSV.argmax(dim=-1).cpu()
        for path_S, frames, transcript in zip(
            paths_BS, lengths_B.tolist(), transcripts, strict=True
        ):
            self.labelled_frames += frames
            self.labelled_blank_frames += int((path_S[:frames] == BLANK).sum())
            self.labelled_tokens += len(collapse(path_S[:frames]))
            self.transcript_tokens += len(transcript)

    def summed(self, ranks: Ranks) -> BatchStats:
        """The same over all ranks. A collective."""
        names = [f.name for f in fields(self) if f.name != "non_finite_ids"]
        sums = ranks.sum([float(getattr(self, name)) for name in names])
        return BatchStats(**dict(zip(names, sums, strict=True)))  # type: ignore[arg-type]
