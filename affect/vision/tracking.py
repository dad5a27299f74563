"""Tracks: which face is whose from frame to frame, and which one is the learner's.

A `Tracker` is the state of one session. It decides when a full detection is due, takes what detection and
refinement found, and keeps ids stable; the nets themselves run elsewhere, for all sessions at once. Frames must
come in order of time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from affect.settings.vision import VisionSettings
from affect.types import Detection
from affect.vision.detector import Hint, area, overlap

MATCH_OVERLAP = 0.25  # a face moved by less than about 40 % of its side is still the same one
DUPLICATE_OVERLAP = 0.6  # two tracks this close are one face


@dataclass(frozen=True, slots=True)
class Track:
    """One face over time: its id, where it was last, and when that was."""

    id: int
    face: Detection
    seen: float


class Tracker:
    """Faces of one session.

    Args:
        settings: Intervals and thresholds.
        phase: 0-1; shifts the regular detections so that those of many sessions do not fall together.
    """

    def __init__(self, settings: VisionSettings, phase: float = 0.0) -> None:
        self.settings = settings
        self.visible: tuple[Track, ...] = ()
        self.followed: int | None = None
        self._lost: tuple[Track, ...] = ()
        self._next_id = 1
        self.phase = phase
        self._first_detection = True
        self._detected: float | None = None
        self._followed_seen = 0.0
        self._missing_since: float | None = None
        self._size: tuple[int, int] | None = None

    def anew(self) -> "Tracker":
        """Return a tracker as this one was before its first frame."""
        return Tracker(self.settings, self.phase)

    def frame_size(self, width: int, height: int) -> None:
        """Say how large the next frame is; another size than before means another camera, so tracks end."""
        if self._size not in (None, (width, height)):
            self.visible, self._lost, self._detected, self.followed = (), (), None, None
        self._size = width, height

    @property
    def hint(self) -> Hint:
        """What a detection of this session's next frame may take as known.

        While the learner is tracked, a look is for newcomers of some size only: those at hand are verified by
        refinement in every frame, and the search for small faces is what makes a detection dear.
        """
        known = tuple(track.face.box for track in self.visible)
        for track in self.visible:
            if track.id == self.followed:
                return Hint(0.5 * float(np.sqrt(area(track.face.box))), known)
        return Hint(0.0, known)

    def due(self, t: float) -> bool:
        """Whether frame `t` needs a detection even if no track is lost."""
        if self._detected is None or t < self._detected:
            return True
        since = t - self._detected
        if self._missing_since is None:
            return since >= self.settings.redetect_s
        # The learner is just lost: look at every frame; longer gone: now and then.
        return t - self._missing_since <= self.settings.lost_s or since >= self.settings.search_s

    def refined(self, t: float, found: Sequence[Detection | None]) -> bool:
        """Take what refinement saw for each visible track, in their order.

        Returns:
            True when the learner's face was lost in this very frame, which therefore needs a detection.
        """
        was_missing = self._missing_since is not None
        kept = []
        for track, face in zip(self.visible, found, strict=True):
            if face is None:
                self._lost += (track,)
            else:
                kept.append(replace(track, face=face, seen=t))
        self._show(t, kept)
        return self._missing_since is not None and not was_missing

    def detected(self, t: float, faces: Sequence[Detection]) -> None:
        """Take a full detection of frame `t`: match it with the tracks, start and end tracks."""
        self._detected = t
        if self._first_detection:
            self._detected -= self.phase * self.settings.redetect_s
            self._first_detection = False
        recent = [track for track in self._lost if self._recent(track, t)]
        candidates = [*self.visible, *recent]
        # Who was just seen by refinement is where he was: a face beside him is somebody else's.
        seen_now = [i < len(self.visible) and track.seen == t for i, track in enumerate(candidates)]
        pairs = sorted(
            (
                (_likeness(track.face, face, may_have_moved=not seen_now[i]), i, j)
                for i, track in enumerate(candidates)
                for j, face in enumerate(faces)
            ),
            reverse=True,
        )
        kept: list[Track] = []
        used_tracks: set[int] = set()
        used_faces: set[int] = set()
        for likeness, i, j in pairs:
            if likeness <= 0 or i in used_tracks or j in used_faces:
                continue
            used_tracks.add(i)
            used_faces.add(j)
            kept.append(replace(candidates[i], face=faces[j], seen=t))
        for j, face in enumerate(faces):
            if j not in used_faces:
                kept.append(Track(self._next_id, face, t))
                self._next_id += 1
        # A track seen by refinement in this very frame outlives a detector that missed it once.
        confirmed = [track for i, track in enumerate(candidates) if i not in used_tracks and seen_now[i]]
        self._lost = tuple(
            track for i, track in enumerate(candidates) if i not in used_tracks and track not in confirmed
        )
        self._show(t, [*kept, *confirmed])

    def _show(self, t: float, tracks: list[Track]) -> None:
        tracks.sort(key=lambda track: (track.id != self.followed, track.id))
        unique: list[Track] = []
        for track in tracks:  # the learner's wins, then the older id
            if all(overlap(track.face.box, other.face.box) < DUPLICATE_OVERLAP for other in unique):
                unique.append(track)
        self.visible = tuple(sorted(unique, key=lambda track: track.id))
        self._lost = tuple(track for track in self._lost if self._recent(track, t))
        self._follow(t)
        if any(track.id == self.followed for track in self.visible):
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = t

    def _recent(self, track: Track, t: float) -> bool:
        """Whether a lost face may still come back as itself: the learner's as long as nobody else is followed."""
        longest = self.settings.lost_s
        if track.id == self.followed:
            longest = max(longest, self.settings.switch_s)
        return t - track.seen <= longest

    def _follow(self, t: float) -> None:
        """Follow the largest face at first, then the same one, until it is gone for `switch_s`."""
        if any(track.id == self.followed for track in self.visible):
            self._followed_seen = t
            return
        if self.followed is not None and t - self._followed_seen < self.settings.switch_s:
            return
        largest = max(self.visible, key=lambda track: area(track.face.box), default=None)
        if largest is not None:
            self.followed, self._followed_seen = largest.id, t


def _likeness(old: Detection, new: Detection, *, may_have_moved: bool) -> float:
    """How well a detection continues a track: overlap, or nearness for a face that moved fast; 0 = not at all."""
    share = overlap(old.box, new.box)
    if share >= MATCH_OVERLAP:
        return 1 + share
    if not may_have_moved:
        return 0.0
    side = float(np.sqrt(max(area(old.box), 1.0)))
    distance = float(np.linalg.norm((old.box[:2] + old.box[2:] - new.box[:2] - new.box[2:]) / 2)) / side
    size_ratio = float(np.sqrt(max(area(new.box), 1.0))) / side
    return 1 - distance if distance < 1 and 0.6 < size_ratio < 1.67 else 0.0
