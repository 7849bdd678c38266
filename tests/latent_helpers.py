"""Settings of masked prediction on the tones, and the runs of it that tests compare."""

from __future__ import annotations

LATENT = [
    "objective.kind=latent",
    "objective.latent.top_blocks=2",
    "pseudo_label.start_hours=null",
    "trainer.total_hours=0.085",
    "trainer.evaluation_every_hours=0.05",
    "trainer.checkpoint_every_hours=0.05",
]
"""21 updates, with all augmentation, dropout and LayerDrop, on the audio of all sets."""
