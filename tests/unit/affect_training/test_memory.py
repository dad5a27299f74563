import platform
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = """
import resource, sys, torch
from affect_training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(20):  # small blocks settle between the large ones at first
    torch.ones(10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", PAGES, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


def _huge_pages() -> bool:
    """Whether all large blocks are of huge pages, which fault too seldom to be counted here."""
    try:
        return "[always]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text("utf-8")
    except OSError:
        return False


@pytest.mark.skipif(_huge_pages(), reason="huge pages")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
def test_memory_of_one_step_serves_the_next() -> None:
    assert _faults("give back") > 10 * max(_faults("keep"), 100)
