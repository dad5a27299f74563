"""Which files are meant, and what their outputs are called."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from affect.errors import MediaError
from affect.media import find_media, printable


def names(folder: Path, files: Sequence[str], inputs: Sequence[str]) -> dict[str, str]:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_media(folder / name for name in inputs)
    return {file.path.relative_to(folder).as_posix(): file.name for file in found}


def test_outputs_lie_as_the_files_do_in_their_folder(tmp_path: Path) -> None:
    files = ["study/P01/session1.mp4", "study/P02/session1.mp4", "study/intro.mkv"]
    assert names(tmp_path, files, ["study"]) == {
        "study/P01/session1.mp4": "P01/session1",
        "study/P02/session1.mp4": "P02/session1",
        "study/intro.mkv": "intro",
    }


def test_names_that_collide_get_their_folders_or_suffixes(tmp_path: Path) -> None:
    files = ["a/x.mp4", "b/x.jpg", "c/x.mp4", "c/x.mov", "y.png"]
    assert names(tmp_path, files, files) == {
        "a/x.mp4": "a/x",
        "b/x.jpg": "b/x",
        "c/x.mp4": "x.mp4",
        "c/x.mov": "x.mov",
        "y.png": "y",
    }
    assert set(names(tmp_path, [], ["a", "b"]).values()) == {"a/x", "b/x"}


def test_a_file_that_is_given_twice_is_one(tmp_path: Path) -> None:
    assert names(tmp_path, ["a/x.mp4"], ["a", "a/x.mp4", "a/../a/x.mp4"]) == {"a/x.mp4": "x"}


def test_folders_give_all_kinds_but_hidden_files_and_our_plots(tmp_path: Path) -> None:
    kinds = ["a.ts", "b.3gp", "c.flv", "d.MP4"]
    others = ["._a.mp4", ".trash/e.mp4", "f.timeline.png", "notes.txt"]
    assert list(names(tmp_path, [f"v/{name}" for name in kinds + others], ["v"]).values()) == ["a", "b", "c", "d"]


def test_what_is_not_there_or_no_media_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for name, reason in (("gone.mp4", "no such file"), ("notes.txt", "expected a picture or video"), (".", "no pict")):
        with pytest.raises(MediaError, match=reason):
            find_media([tmp_path / name])


def test_any_name_can_be_printed() -> None:
    assert printable(Path("Zo\udceb.mp4")) == r"Zo\xeb.mp4"
    assert printable("学习者.mp4") == "学习者.mp4"
