"""What launchers (torchrun, srun, Lightning) tell a process of its place, by the environment; without torch."""

import os

NUMBERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def is_numbered_first() -> bool:
    """Whether no launcher numbered this process other than 0."""
    return all(os.environ.get(name, "0") == "0" for name in NUMBERS)
