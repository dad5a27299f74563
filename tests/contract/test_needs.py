"""What tests need beside the repository: named in CONTRIBUTING.md, skipped without, missed where it must be there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.data import named_path

ROOT = Path(__file__).resolve().parents[2]
SET = "AFFECT_FER2013"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SET, "AFFECT_YUNET", "AFFECT_REQUIRE_DATA", "AFFECT_REQUIRE_BROWSER"):
        monkeypatch.delenv(name, raising=False)


def test_data_that_is_not_named_skips_unless_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.skip.Exception, match=f"{SET} is not set"):
        named_path(SET)
    monkeypatch.setenv("AFFECT_REQUIRE_DATA", "1")
    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception)) as caught:  # a skip would hide this test too
        named_path(SET)
    assert caught.type is pytest.fail.Exception
    assert f"{SET} is not set, and AFFECT_REQUIRE_DATA is" in str(caught.value)


def test_data_is_where_its_name_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SET, str(tmp_path))
    assert named_path(SET) == tmp_path
    monkeypatch.setenv(SET, str(tmp_path / "gone"))
    with pytest.raises(pytest.fail.Exception, match="which is not there"):
        named_path(SET)


@pytest.mark.parametrize("shared", [True, False])
def test_ci_requires_data_only_where_it_is_kept(tmp_path: Path, shared: bool) -> None:
    checkout, programs = tmp_path / "checkout", tmp_path / "bin"
    (checkout / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", checkout / ".ci" / "run")
    programs.mkdir()
    for name in ("git", "openssl", "chromium", "python3", "apt-get"):
        (programs / name).write_text("#!/bin/sh\n")
    (programs / "make").write_text("#!/bin/sh\nenv\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    if shared:
        (tmp_path / "shared" / "data").mkdir(parents=True)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    result = subprocess.run(
        ["bash", checkout / ".ci" / "run"], capture_output=True, text=True, timeout=60, check=True, env=env
    )
    said = result.stdout.splitlines()
    assert "AFFECT_REQUIRE_BROWSER=1" in said
    assert ("AFFECT_REQUIRE_DATA=1" in said) is shared


def test_contributing_names_what_tests_need() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    read = set(re.findall(r'(?:named_path\(|environ\[|environ\.get\(|which\()"([^"]+)"', code))
    read |= set(re.findall(r'"(AFFECT_REQUIRE_[A-Z]+)"', code))
    assert read >= {SET, "AFFECT_YUNET", "AFFECT_HUMAN", "AFFECT_FACE_API", "openssl", "AFFECT_REQUIRE_DATA"}
    elsewhere = {"PATH", "PYTHONPATH", "chromium", "chromium-browser", "google-chrome"}
    assert {name for name in read - elsewhere if f"`{name}`" not in page} == set()
