"""Settings of decoding, detection and tracking, and of the bundled detectors."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]


class VisionSettings(BaseModel):
    """From bytes to tracked faces."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    detector: str = Field(default="mtcnn", description="Name of a registered detector.")
    max_pixels: int = Field(
        default=32_000_000, ge=1024, description="Pictures with more pixels are refused before decoding."
    )
    min_side: int = Field(default=24, ge=12, description="Pictures with a shorter side are refused.")
    max_side: int = Field(
        default=1280,
        ge=64,
        description="Longer pictures are worked on at this size; results keep the frame's pixels.",
    )
    redetect_s: float = Field(
        default=3.0, ge=0, description="While faces are tracked, a full detection at most this often."
    )
    search_s: float = Field(
        default=0.5, ge=0, description="While no face is found, a full detection at most this often."
    )
    lost_s: float = Field(
        default=1.5,
        ge=0,
        description="A face found again near its last place within this time keeps its track id; the learner's "
        "face within switch_s.",
    )
    switch_s: float = Field(
        default=5.0,
        ge=0,
        description="The session follows another face when the learner's is gone this long, and for "
        "learner.absent_s at least.",
    )
    all_faces: bool = Field(default=False, description="Classify every face, not only the learner's.")


class MtcnnSettings(BaseModel):
    """Settings of the detector `mtcnn`; thresholds are those of the published code."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_face: float = Field(
        default=0.12, gt=0, le=1, description="Smallest face looked for first, in shorter sides of the frame."
    )
    min_face_px: float = Field(
        default=20, ge=12, description="Smallest face looked for when the first look finds none, pixels."
    )
    detect_side: int = Field(default=640, ge=48, description="Longer frames are scanned at this size.")
    thresholds: tuple[Probability, Probability, Probability] = Field(
        default=(0.6, 0.7, 0.7), description="Face probability of P-Net, R-Net and O-Net."
    )
    second_thresholds: tuple[Probability, Probability, Probability] = Field(
        default=(0.3, 0.3, 0.8),
        description="The same for the second look, which comes when the first finds none; O-Net's is the mean over the "
        "face and its mirror image. Chosen on FER2013 faces pasted into pictures, and on pictures without any.",
    )
    track_threshold: Probability = Field(default=0.7, description="Face probability (O-Net) that keeps a track.")
    max_candidates: int = Field(default=100, ge=1, description="Kept a frame after P-Net, best first.")


class HaarSettings(BaseModel):
    """Settings of the detector `haar`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scale_factor: float = Field(default=1.1, gt=1)
    min_neighbors: int = Field(default=5, ge=1)
    min_face: float = Field(default=0.12, gt=0, le=1, description="Smallest face, in shorter sides of the frame.")


class YunetSettings(BaseModel):
    """Settings of the detector `yunet`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: Path | None = Field(default=None, description="Path of face_detection_yunet_2023mar.onnx.")
    threshold: float = Field(default=0.6, ge=0, le=1)
    detect_side: int = Field(default=320, ge=48, description="Longer frames are scanned at this size.")
