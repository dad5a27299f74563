"""Vision: from encoded frames to tracked, aligned face crops."""
