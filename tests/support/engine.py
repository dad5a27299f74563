"""The engine's full type, in one word."""

from affect.inference.engine import LocalEngine
from affect.pipeline import FrameJob, PreparedFrame
from affect.types import FrameFaces

Engine = LocalEngine[FrameJob, PreparedFrame, FrameFaces]
