"""Small videos that the fake detector sees a face in."""

from pathlib import Path

import cv2
import numpy as np


def write_clip(path: Path, frames: int = 10, *, face: bool = True, fps: float = 10.0) -> Path:
    """Write a Motion-JPEG AVI of 128x96."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((96, 128, 3), 240 if face else 0, np.uint8)
    if face:
        image[:, ::8] = image[:, 1::8] = image[:, 2::8] = image[:, 3::8] = 160
    whole = path.with_name("writing.avi")
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), fps, (128, 96))
    for _ in range(frames):
        writer.write(image)
    writer.release()
    return whole.replace(path)
