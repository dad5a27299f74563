"""Trains runs of the tiny recipe, each in a process of its own that is killed in the middle; a script for tests.

    python killed.py FOLDER THREADS '{"NAME": {"at": "step 6", "train": {…}, "augment": {…}}, …}'

`at` is `step N`, counted from 0 over all epochs, or `save N`: half-way through writing the N-th `last.ckpt`.
`precision` is float32 unless told.
Prints, as JSON, the signal that ended each.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from affect_training.callbacks import WholeFile
from affect_training.config import run_config
from affect_training.module import FaceModule
from affect_training.run import Run

from affect.inference.device import Device
from support.tiny import TINY, tiny_faces

SPEC = replace(TINY, architecture="support.tiny:Tiny")
"""The tiny recipe for another process, where nothing is patched."""


def main(folder: Path, threads: int, runs: dict[str, Any]) -> None:
    """Start the runs one after the other and wait for their end."""
    ended = {}
    for name, of in runs.items():
        child = os.fork()  # nothing has been computed yet: no threads that could be lost
        if child == 0:
            torch.set_num_threads(threads)
            _train(folder / name, of)
            os._exit(0)
        ended[name] = os.WTERMSIG(os.waitpid(child, 0)[1])
    print(json.dumps(ended))


def _train(folder: Path, of: dict[str, Any]) -> None:
    kind, number = of.pop("at").split()
    device = Device("cpu", of.pop("precision", "float32"))
    calls = count()
    step, save = FaceModule.training_step, WholeFile.save_checkpoint

    def killed_step(self: FaceModule, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if next(calls) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, batch, batch_idx)

    def killed_save(self: WholeFile, checkpoint: dict[str, Any], path: str | Path, **of: Any) -> None:
        save(self, checkpoint, path)
        if next(calls) == int(number):
            os.truncate(path, Path(path).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    if kind == "step":
        FaceModule.training_step = killed_step  # type: ignore[method-assign]
    else:
        WholeFile.save_checkpoint = killed_save  # type: ignore[method-assign, assignment]
    Run(folder, SPEC, run_config(SPEC, of), tiny_faces(), device).fit(lambda _: None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
