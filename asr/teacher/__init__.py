"""Whose weights label: the average, the student, a frozen copy, the mean of the best; and their snapshots.

The base of a teacher of your own, at a path that stays: `Teacher`, and `TeacherContext`, what it is given.
"""

from asr.utils.lazy import offer

TYPE_CHECKING = False  # `typing` itself takes milliseconds

if TYPE_CHECKING:
    from asr.teacher.teachers import Teacher, TeacherContext

__all__ = ["Teacher", "TeacherContext"]

__getattr__ = offer(
    __name__, {"TeacherContext": "asr.teacher.teachers", "Teacher": "asr.teacher.teachers"}
)
