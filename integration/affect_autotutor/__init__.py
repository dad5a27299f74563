"""A reference tutor in the manner of AutoTutor that changes what it does when the learner is frustrated or bored.

`affect-tutor --session NAME` talks in the terminal, beside a running `affect serve`; `Dialogue` and `AffectPolicy` work
without either. See docs/tutor.md.
"""

from affect_autotutor.dialogue import Dialogue, Move, MoveKind, Verdict
from affect_autotutor.host import TutorHost
from affect_autotutor.lesson import Lesson, load_lesson
from affect_autotutor.policy import AffectPolicy, PolicySettings, Tactic

__all__ = [
    "AffectPolicy",
    "Dialogue",
    "Lesson",
    "Move",
    "MoveKind",
    "PolicySettings",
    "Tactic",
    "TutorHost",
    "Verdict",
    "load_lesson",
]
