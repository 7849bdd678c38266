"""What a run writes about itself, and how it is read back.

The base of a logger of your own, at a path that stays: `MetricLogger`, and `RunInfo`, what it is told.
"""

from asr.utils.lazy import offer

TYPE_CHECKING = False  # `typing` itself takes milliseconds

if TYPE_CHECKING:
    from asr.tracking.metric_logger import MetricLogger, RunInfo

__all__ = ["MetricLogger", "RunInfo"]

__getattr__ = offer(
    __name__,
    {"MetricLogger": "asr.tracking.metric_logger", "RunInfo": "asr.tracking.metric_logger"},
)
