"""Detector `mtcnn`: the cascade of Zhang et al. 2016, batched over the frames of all sessions.

P-Net scans a pyramid of all frames at once, R-Net and O-Net judge the candidates of all frames in one batch each.
Between full detections `refine` asks only O-Net, on one 48x48 crop a face. Boxes in here are edges: a box covers
x0 <= x < x1 in pixels.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torchvision.ops import batched_nms

from affect.settings.vision import MtcnnSettings
from affect.types import ByteArray, Detection, FloatArray
from affect.vision.crop import crop_faces, from_box
from affect.vision.detector import Hint
from affect.vision.mtcnn_nets import Autocast, load_nets

Ints = NDArray[np.int64]

PYRAMID_FACTOR = 0.709  # sqrt(1/2): each step halves the pixels (the paper's value)
P_NET_CELL, P_NET_STRIDE = 12, 2
ASK_AGAIN = 0.3
"""Face probability from which the second look lays O-Net's crop anew, around the box that O-Net found itself."""


class Mtcnn:
    """The cascade on a device.

    Args:
        settings: Thresholds and sizes.
        device: Where the nets run.
        autocast: Makes the context in which the larger nets' convolutions run (reduced precision).
    """

    def __init__(self, settings: MtcnnSettings, device: torch.device, autocast: Autocast = nullcontext) -> None:
        self.settings = settings
        self.device = device
        self.pnet, self.rnet, self.onet = load_nets(device, autocast)

    def detect(self, images: Sequence[ByteArray], hints: Sequence[Hint] | None = None) -> list[list[Detection]]:
        """Find all faces of each image, best first.

        Where there is none, a second look goes down to small faces and lets more candidates through to O-Net, which
        then must see a face in the mirror image too, and may look again where it saw half of one: turned and partly
        hidden faces are found, textures are not.
        """
        hints = hints or [Hint()] * len(images)
        first = [max(hint.smallest, self._first_size(image)) for hint, image in zip(hints, images, strict=True)]
        known = [hint.known for hint in hints]
        found = self._detect(images, first, known, self.settings.thresholds)
        empty = [k for k in range(len(images)) if not found[k] and not known[k]]
        if empty:
            rest = [images[k] for k in empty]
            smallest = [self._smallest(image) for image in rest]
            again = self._detect(rest, smallest, [()] * len(rest), self.settings.second_thresholds, confirm=True)
            for k, faces in zip(empty, again, strict=True):
                found[k] = faces
        return found

    @torch.inference_mode()
    def refine(self, images: Sequence[ByteArray], boxes: Sequence[FloatArray]) -> list[Detection | None]:
        """Refine and verify one box an image with O-Net; None where it sees no face any more.

        Where it doubts, its mean over the face and the mirror image decides.
        """
        if not images:
            return []
        squares = np.stack([_square(box) for box in boxes])
        crops = self._crops(images, squares, 48)
        probability, refined, landmarks = self._o_net(crops, squares)
        threshold = self.settings.track_threshold
        self._confirm(crops, probability, threshold, probability < threshold)
        return [
            Detection(refined[k], landmarks[k], float(probability[k]))
            if probability[k] >= self.settings.track_threshold
            else None
            for k in range(len(images))
        ]

    def _first_size(self, image: ByteArray) -> float:
        return float(max(self._smallest(image), self.settings.min_face * min(image.shape[:2])))

    def _smallest(self, image: ByteArray) -> float:
        shrink = max(1.0, max(image.shape[:2]) / self.settings.detect_side)
        return float(self.settings.min_face_px * shrink)

    @torch.inference_mode()
    def _detect(
        self,
        images: Sequence[ByteArray],
        min_faces: Sequence[float],
        known: Sequence[Sequence[FloatArray]],
        thresholds: tuple[float, float, float],
        *,
        confirm: bool = False,
    ) -> list[list[Detection]]:
        which, boxes = _without_known(*self._propose(images, min_faces, thresholds[0]), known)
        which, boxes = self._reject(images, which, boxes, thresholds[1])
        if not len(which):
            return [[] for _ in images]
        probability, refined, landmarks = self._judge(images, which, boxes, thresholds[2], confirm=confirm)
        doubted = np.flatnonzero((probability >= ASK_AGAIN) & (probability < thresholds[2]))
        if confirm and len(doubted):
            around = _squares(refined[doubted])
            again = self._judge(images, which[doubted], around, thresholds[2], confirm=True)
            better = again[0] > probability[doubted]
            for answers, new in zip((probability, refined, landmarks), again, strict=True):
                answers[doubted[better]] = new[better]
        faces: list[list[Detection]] = [[] for _ in images]
        for k in range(len(images)):
            mine = np.flatnonzero((which == k) & (probability >= thresholds[2]))
            for i in _suppress_contained(refined[mine], probability[mine]):
                j = mine[i]
                faces[k].append(Detection(refined[j], landmarks[j], float(probability[j])))
        return faces

    def _propose(
        self, images: Sequence[ByteArray], min_faces: Sequence[float], threshold: float
    ) -> tuple[Ints, FloatArray]:
        """Run P-Net over a pyramid; return frame index [M] and square boxes [M, 4] in pixels of the images."""
        # Every frame is shrunk so that its smallest wanted face is one P-Net cell: that is the pyramid's base.
        bases: list[ByteArray] = []
        for image, min_face in zip(images, min_faces, strict=True):
            ratio = min(1.0, P_NET_CELL / min_face)
            size = (
                max(P_NET_CELL, round(image.shape[1] * ratio)),
                max(P_NET_CELL, round(image.shape[0] * ratio)),
            )
            bases.append(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8))
        height, width = max(b.shape[0] for b in bases), max(b.shape[1] for b in bases)
        canvas = np.full((len(bases), height, width, 3), 127, np.uint8)
        for k, b in enumerate(bases):
            canvas[k, : b.shape[0], : b.shape[1]] = b
        pixels = torch.from_numpy(canvas).to(self.device).permute(0, 3, 1, 2).float()
        base = ((pixels - 127.5) * 0.0078125).contiguous(memory_format=torch.channels_last)
        all_boxes, all_scores, all_frames, all_offsets = [], [], [], []
        h, w = height, width
        level = base
        while min(h, w) >= P_NET_CELL:
            if (h, w) != (height, width):
                level = functional.interpolate(base, size=(h, w), mode="area")
            probability, offsets = self.pnet(level)
            frame, y, x = torch.nonzero(probability >= threshold, as_tuple=True)
            if len(frame):
                scale = torch.tensor([width / w, height / h] * 2, device=self.device)
                corner = torch.stack([x, y], 1).float() * P_NET_STRIDE
                cells = torch.cat([corner, corner + P_NET_CELL], 1) * scale
                scores = probability[frame, y, x]
                keep = batched_nms(cells, scores, frame, 0.5)
                all_boxes.append(cells[keep])
                all_scores.append(scores[keep])
                all_frames.append(frame[keep])
                all_offsets.append(offsets[frame, :, y, x][keep])
            h, w = int(np.ceil(h * PYRAMID_FACTOR)), int(np.ceil(w * PYRAMID_FACTOR))
        if not all_boxes:
            return np.empty(0, np.int64), np.empty((0, 4), np.float32)
        boxes, scores = torch.cat(all_boxes), torch.cat(all_scores)
        frames, shifts = torch.cat(all_frames), torch.cat(all_offsets)
        keep = batched_nms(boxes, scores, frames, 0.7)
        boxes = _shift(boxes[keep], shifts[keep])
        frames = frames[keep]
        # batched_nms orders by score, so the first of each frame are its best.
        order = torch.cat(
            [torch.nonzero(frames == k).flatten()[: self.settings.max_candidates] for k in range(len(images))]
        )
        which = frames[order].cpu().numpy()
        found = boxes[order].cpu().numpy()
        ratio_xy = np.array(
            [[i.shape[1] / b.shape[1], i.shape[0] / b.shape[0]] for i, b in zip(images, bases, strict=True)]
        )
        found = found * np.tile(ratio_xy[which], 2)
        return which, _squares(found.astype(np.float32))

    def _reject(
        self,
        images: Sequence[ByteArray],
        which: np.ndarray,
        boxes: np.ndarray,
        threshold: float,
    ) -> tuple[Ints, FloatArray]:
        """Run R-Net over all candidates; return those it keeps, refined and square."""
        if not len(which):
            return which, boxes
        crops = self._crops([images[k] for k in which], boxes, 24)
        probability, offsets = self.rnet(crops)
        good = probability >= threshold
        candidates = torch.from_numpy(boxes).to(self.device)[good]
        frames = torch.from_numpy(which).to(self.device)[good]
        keep = batched_nms(candidates, probability[good], frames, 0.7)
        refined = _shift(candidates[keep], offsets[good][keep])
        return frames[keep].cpu().numpy(), _squares(refined.cpu().numpy())

    def _judge(
        self, images: Sequence[ByteArray], which: Ints, squares: FloatArray, threshold: float, *, confirm: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run O-Net on squares [N, 4] of the frames `which` [N]; with `confirm` its probability is the mirror's too."""
        crops = self._crops([images[k] for k in which], squares, 48)
        probability, refined, landmarks = self._o_net(crops, squares)
        if confirm:
            self._confirm(crops, probability, threshold, np.ones(len(which), bool))
        return probability, refined, landmarks

    def _o_net(self, crops: torch.Tensor, squares: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run O-Net on crops of squares [N, 4]; return probability [N], boxes [N, 4], landmarks [N, 5, 2] in pixels."""
        probability, offsets, points = self.onet(crops)
        boxes = torch.from_numpy(squares).to(self.device)
        size = (boxes[:, 2:] - boxes[:, :2])[:, None]
        landmarks = boxes[:, None, :2] + torch.stack([points[:, :5], points[:, 5:]], 2) * size
        refined = _shift(boxes, offsets)
        return probability.cpu().numpy(), refined.cpu().numpy(), landmarks.cpu().numpy()

    def _confirm(
        self, crops: torch.Tensor, probability: FloatArray, threshold: float, asked: NDArray[np.bool_]
    ) -> None:
        """Replace, in place, the probabilities [N] of those asked for by their mean with those of the mirror images.

        Left as they are: those so low that the mean cannot reach the threshold.
        """
        which = np.flatnonzero(asked & (probability >= 2 * threshold - 1))
        if len(which):
            mirrored, _, _ = self.onet(crops[which].flip(-1).contiguous(memory_format=torch.channels_last))
            probability[which] = (probability[which] + mirrored.cpu().numpy()) / 2

    def _crops(self, images: Sequence[ByteArray], squares: FloatArray, size: int) -> torch.Tensor:
        affines = [from_box(square) for square in squares]
        crops = crop_faces(images, affines, size=size, channels=3, device=self.device, taps=1)
        return ((crops * 255 - 127.5) * 0.0078125).contiguous(memory_format=torch.channels_last)


def _without_known(which: Ints, boxes: FloatArray, known: Sequence[Sequence[FloatArray]]) -> tuple[Ints, FloatArray]:
    """Drop candidates whose centre lies in a face that is known already: most lie there, and each costs a crop."""
    keep = np.ones(len(which), bool)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for k in np.unique(which):
        for box in known[k]:
            inside = ((centres >= box[:2]) & (centres <= box[2:])).all(axis=1)
            keep &= ~(inside & (which == k))
    return which[keep], boxes[keep]


def _shift(boxes: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Move each edge by its offset, in units of the box's side."""
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + offsets * size


def _square(box: FloatArray) -> FloatArray:
    square: FloatArray = _squares(box[None])[0]
    return square


def _squares(boxes: FloatArray) -> FloatArray:
    """Return the squares [N, 4] of the longer side around each box's centre."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    squares: FloatArray = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    return squares


def _suppress_contained(boxes: FloatArray, scores: FloatArray, limit: float = 0.7) -> list[int]:
    """Non-maximum suppression by share of the smaller box, so that a box within another goes; best first."""
    kept: list[int] = []
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    for i in np.argsort(-scores):
        inner = np.minimum(boxes[i, 2:], boxes[kept, 2:]) - np.maximum(boxes[i, :2], boxes[kept, :2])
        shared = np.prod(np.maximum(inner, 0), axis=1) / np.maximum(np.minimum(areas[i], areas[kept]), 1e-6)
        if not (shared > limit).any():
            kept.append(int(i))
    return kept
