"""Labelled faces for training: files in, arrays out."""

from affect_training.data.auxiliary import load_aux
from affect_training.data.faces import SIDE, SPLITS, FaceData, Split
from affect_training.data.load import load_faces

__all__ = ["SIDE", "SPLITS", "FaceData", "Split", "load_aux", "load_faces"]
