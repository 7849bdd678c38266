"""What a global batch comes to: losses, audio, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from asr.distributed.process_group import Ranks
from asr.model.criterion import Said


@dataclass
class BatchStats:
    """Sums over a global batch; a rank's own until `summed`."""

    loss_labelled: float = 0.0
    """In nats."""
    loss_pseudo_labelled: float = 0.0
    labelled_seconds: float = 0.0
    pseudo_labelled_seconds: float = 0.0
    """Untranscribed audio whose label was trained on."""
    loss_representations: float = 0.0
    """Over the frames that are predicted."""
    heard_seconds: float = 0.0
    """Audio of which frames were predicted; its encoder frames in all views, and of these:"""
    heard_frames: float = 0.0
    predicted_frames: float = 0.0
    dead_frames: float = 0.0
    """Whose representation is that of the whole utterance."""
    channel_sums: list[float] = field(default_factory=list)
    """Over predicted frames, by channel: of targets, their squares, predictions, theirs; empty with texts."""
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
    lost_utterances: int = 0
    """Whose audio cannot be read."""
    refetched: int = 0
    """Requests to an object store that had to be made again."""
    wait_seconds: float = 0.0
    stop_signals: float = 0.0
    """More than 0 where a rank has been asked to stop before they were summed."""
    non_finite_ids: list[str] = field(default_factory=list)
    """This rank's, by name; not summed."""
    lost: dict[str, str] = field(default_factory=dict)
    """This rank's: by the utterance's id, why it cannot be read; not summed."""

    @property
    def trained_seconds(self) -> float:
        """Audio whose transcript, label or representation was trained on."""
        return self.labelled_seconds + self.pseudo_labelled_seconds + self.heard_seconds

    def add_channel_sums(self, sums: list[float]) -> None:
        """Of a micro-batch."""
        before = self.channel_sums or [0.0] * len(sums)
        self.channel_sums = [a + b for a, b in zip(before, sums, strict=True)]

    def note_output(self, said: Sequence[Said], transcripts: Sequence[Sequence[int]]) -> None:
        """What the student says of transcribed speech."""
        self.labelled_blank_frames += sum(one.blank_frames for one in said)
        self.labelled_frames += sum(one.frames for one in said)
        self.labelled_tokens += sum(len(one.tokens) for one in said)
        self.transcript_tokens += sum(map(len, transcripts))

    def summed(self, ranks: Ranks) -> BatchStats:
        """The same over all ranks. A collective."""
        names = [
            f.name for f in fields(self) if f.name not in ("non_finite_ids", "lost", "channel_sums")
        ]
        sums = ranks.sum([*(float(getattr(self, name)) for name in names), *self.channel_sums])
        found = BatchStats(**dict(zip(names, sums, strict=False)))  # type: ignore[arg-type]
        found.channel_sums = sums[len(names) :]
        return found
