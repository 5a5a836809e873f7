"""Files are written whole, and only where a regular file may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eap_plugin.errors import UsageError
from eap_plugin.files import write_whole


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    target.parent.mkdir()
    link.symlink_to(target)
    for content in (b"new", b"replaced"):
        write_whole(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert [entry.name for entry in target.parent.iterdir()] == ["target"]


def test_devices_and_pipes_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "null"):
        with pytest.raises(UsageError, match="a device or a pipe; give the path of a regular file"):
            write_whole(tmp_path / name, b"x")
    assert (tmp_path / "pipe").is_fifo()
    assert Path("/dev/null").is_char_device()


def test_folders_and_loops_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UsageError, match="it is a folder; add a file name"):
        write_whole(tmp_path, b"x")
    with pytest.raises(UsageError, match="the folder .* does not exist; make it first"):
        write_whole(tmp_path / "missing" / "file", b"x")
