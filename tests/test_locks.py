"""Locks: one holder at a time, and never somebody else."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestration.books.warehouse import WriterBusy, writer_lock
from orchestration.outbox.turns import OutboxBusy, one_at_a_time
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.store.locks import LockBusy, owners_lock

NOBODY = 65534


def test_the_file_of_a_lock_is_for_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        with writer_lock(Settings(data_dir=tmp_path / "books")):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "books" / "writer.lock").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "books").stat().st_mode) == 0o750


def test_a_lock_of_an_earlier_release_is_closed_to_the_group(tmp_path):
    path = tmp_path / "writer.lock"
    path.touch()
    path.chmod(0o664)
    with writer_lock(Settings(data_dir=tmp_path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_member_of_the_group_cannot_hold_the_lock(tmp_path):
    """Who reads the books for BI may open files of the folder; to lock one needs no more."""
    tmp_path.parent.chmod(0o755)
    tmp_path.chmod(0o750)
    os.chown(tmp_path, 0, NOBODY)
    settings = Settings(data_dir=tmp_path)
    with writer_lock(settings):
        pass
    os.chown(tmp_path / "writer.lock", 0, NOBODY)
    opened = subprocess.run(
        ["/bin/sh", "-c", f"exec 9<'{tmp_path}/writer.lock'"],
        user=NOBODY,
        group=NOBODY,
        cwd="/",
        check=False,
        capture_output=True,
    )
    assert opened.returncode != 0
    assert b"ermission denied" in opened.stderr, opened.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_a_lock_that_another_user_made_is_refused(tmp_path):
    path = tmp_path / "writer.lock"
    path.touch()
    os.chown(path, NOBODY, NOBODY)
    with (
        pytest.raises(WriterBusy, match=r"writer\.lock is no file of root"),
        writer_lock(Settings(data_dir=tmp_path)),
    ):
        pass


def test_a_link_in_the_place_of_a_lock_is_refused(tmp_path):
    (tmp_path / "elsewhere").touch()
    (tmp_path / "writer.lock").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(WriterBusy, match=r"writer\.lock is a link"),
        writer_lock(Settings(data_dir=tmp_path)),
    ):
        pass
    outbox = Settings(data_dir=tmp_path)
    outbox.outbox_dir.mkdir()
    (outbox.outbox_dir / "alerts.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutboxBusy, match="is a link"), one_at_a_time(outbox, "alerts"):
        pass


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell")
def test_who_holds_the_lock_is_said(tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time\n"
            "from orchestration.settings import Settings\n"
            "from orchestration.books.warehouse import writer_lock\n"
            f"with writer_lock(Settings(data_dir={str(tmp_path)!r})):\n"
            "    print('held', flush=True); time.sleep(600)",
        ],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(WriterBusy, match=f"process {holder.pid} of "),
            writer_lock(Settings(data_dir=tmp_path), patience=0),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()


def test_a_holder_is_waited_for(tmp_path):
    path = tmp_path / "lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(LockBusy), owners_lock(path, 0.3):
            pass
        assert time.monotonic() - began >= 0.3
        fcntl.flock(file, fcntl.LOCK_UN)
        with owners_lock(path, 0.3):
            pass
