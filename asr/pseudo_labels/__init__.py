"""When and how labels are made, filtered, kept, watched.

Bases of methods of your own, at a path that stays: `LabelDecoder`, `LabelRequest`, `Schedule`.
"""

from asr.utils.lazy import offer

TYPE_CHECKING = False  # `typing` itself takes milliseconds

if TYPE_CHECKING:
    from asr.pseudo_labels.decoders import LabelDecoder, LabelRequest
    from asr.pseudo_labels.schedules import CacheSchedule, RoundsSchedule, Schedule

__all__ = ["CacheSchedule", "LabelDecoder", "LabelRequest", "RoundsSchedule", "Schedule"]

__getattr__ = offer(
    __name__,
    {
        "LabelDecoder": "asr.pseudo_labels.decoders",
        "LabelRequest": "asr.pseudo_labels.decoders",
        "Schedule": "asr.pseudo_labels.schedules",
        "CacheSchedule": "asr.pseudo_labels.schedules",
        "RoundsSchedule": "asr.pseudo_labels.schedules",
    },
)
