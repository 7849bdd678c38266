"""Settings of self-supervised runs on the tones, which tests compare."""

from __future__ import annotations

_RUN = [
    "pseudo_label.start_hours=null",
    "trainer.total_hours=0.085",
    "trainer.evaluation_every_hours=0.05",
    "trainer.checkpoint_every_hours=0.05",
]
"""21 updates, with all augmentation, dropout and LayerDrop, on the audio of all sets."""
LATENT = ["objective=latent", "objective.latent.top_blocks=2", *_RUN]
BYOL = [
    "objective=byol",
    "objective.byol.hidden_width=64",
    "objective.byol.projection_width=16",
    *_RUN,
]
SETTINGS = {"latent": LATENT, "byol": BYOL}
