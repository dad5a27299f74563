"""What tests need that is not in the repository: without it they are skipped, or fail where it must be there."""

import os
from pathlib import Path

import pytest

REQUIRE = "AFFECT_REQUIRE_DATA"


def named_path(variable: str) -> Path:
    """Return the path that an environment variable names; skips the test without it, fails with AFFECT_REQUIRE_DATA.

    A variable that names nothing on this disk is a mistake, and fails always.
    """
    value = os.environ.get(variable)
    if not value:
        if os.environ.get(REQUIRE):
            pytest.fail(f"{variable} is not set, and {REQUIRE} is")
        pytest.skip(f"{variable} is not set")
    if not Path(value).exists():
        pytest.fail(f"{variable} names {value}, which is not there")
    return Path(value)
