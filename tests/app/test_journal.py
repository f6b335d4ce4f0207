"""Journal files: complete or absent, locked while in use, and damage is reported."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.records.entry import LogEntry
from app.records.idempotency import Repeatable
from app.records.journal import JournalFile, check_writable, holds
from model_zoo.orbit import Rotations
from tests.app.conftest import answer_of, entry_of
from tests.conftest import ROOT

PLENTY = 2**20
MOMENT = datetime(2030, 1, 1, tzinfo=UTC)


def entry(request: Repeatable | None = None) -> LogEntry:
    return entry_of(answer_of(MOMENT, case_id="Fälle"), Rotations.FULL, "key", request, b"\x00\xffpatch")


def entries_of(file: JournalFile) -> list[LogEntry]:
    return [found for found, _ in file.read()]


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    file = JournalFile.create(tmp_path)
    written = [entry(), entry(Repeatable("key", "again", "0" * 64)), entry()]
    first = file.append(written[:2], PLENTY)
    third = file.append(written[2:], PLENTY)
    assert entries_of(file) == written
    for begin, each in zip(first + third, written, strict=True):
        assert next(file.read(begin))[0] == each
    positions = [end for _, end in file.read()]
    assert [found for found, _ in file.read(positions[0])] == written[1:]
    assert positions[-1] == file.size == file.path.stat().st_size
    file.close()


def test_a_file_belongs_to_one_process(tmp_path: Path) -> None:
    file = JournalFile.create(tmp_path)
    file.append([entry()], PLENTY)
    program = (
        "import sys; from pathlib import Path; from app.records.journal import JournalFile;"
        "print(JournalFile.adopt(Path(sys.argv[1])) is None)"
    )

    def refused_elsewhere() -> str:
        command = [sys.executable, "-c", program, str(file.path)]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()

    assert refused_elsewhere() == "True"
    assert JournalFile.adopt(file.path) is None
    file.close()
    assert refused_elsewhere() == "False"
    adopted = JournalFile.adopt(file.path)
    assert adopted is not None
    assert len(entries_of(adopted)) == 1
    adopted.close()


def test_an_empty_file_goes_and_is_not_adopted(tmp_path: Path) -> None:
    file = JournalFile.create(tmp_path)
    file.append([entry()], PLENTY)
    assert not file.clear(file.size - 1)
    assert file.clear(file.size)
    file.close()
    assert list(tmp_path.iterdir()) == []
    assert JournalFile.adopt(file.path) is None


@pytest.mark.parametrize("torn", [1, 20, -2])
def test_a_torn_last_line_was_never_answered(tmp_path: Path, torn: int, caplog: pytest.LogCaptureFixture) -> None:
    file = JournalFile.create(tmp_path)
    whole = entry()
    [_, begin] = file.append([whole, entry()], PLENTY)
    file.close()
    os.truncate(file.path, begin + torn if torn > 0 else file.path.stat().st_size + torn)
    adopted = JournalFile.adopt(file.path)
    assert adopted is not None
    with caplog.at_level(logging.ERROR):
        assert entries_of(adopted) == [whole]
    assert adopted.damaged == 0
    assert caplog.records == []
    adopted.close()


def test_a_damaged_line_is_passed_over_told_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = JournalFile.create(tmp_path)
    written = [entry() for _ in range(3)]
    begins = file.append(written, PLENTY)
    with file.path.open("r+b") as raw:
        raw.seek(begins[1] + 100)
        raw.write(b"#")
    with caplog.at_level(logging.ERROR):
        assert entries_of(file) == [written[0], written[2]]
    assert file.damaged == 1
    assert "damaged" in caplog.text
    file.set_aside()
    file.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".damaged"]


def test_what_does_not_fit_is_not_written_at_all(tmp_path: Path) -> None:
    file = JournalFile.create(tmp_path)
    kept = entry()
    file.append([kept], PLENTY)
    size = file.size
    with pytest.raises(OSError, match="would grow beyond") as full:
        file.append([entry(), entry()], size + 100)
    assert full.value.errno == errno.ENOSPC
    assert file.path.stat().st_size == size
    file.append([entry()], PLENTY)
    assert entries_of(file)[0] == kept
    file.close()


def test_a_disk_that_is_full_leaves_the_earlier_entries_whole(tmp_path: Path) -> None:
    """The limit on a process's files makes a write fail halfway."""
    program = """
import resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from app.records.journal import JournalFile
from tests.app.test_journal import PLENTY, entry, entries_of
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = JournalFile.create(Path(sys.argv[1]))
file.append([entry()], PLENTY)
resource.setrlimit(resource.RLIMIT_FSIZE, (file.size + 100, file.size + 100))
try:
    file.append([entry()], PLENTY)
except OSError as error:
    print(error.errno, len(entries_of(file)), file.path.stat().st_size == file.size)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == [str(errno.EFBIG), "1", "True"]


def test_predictions_are_found_in_anybodys_journal(tmp_path: Path) -> None:
    file = JournalFile.create(tmp_path)
    journalled = entry()
    assert not holds(tmp_path, journalled.id)
    file.append([journalled], PLENTY)
    assert holds(tmp_path, journalled.id)
    assert not holds(tmp_path / "nowhere", journalled.id)
    file.close()


def test_a_folder_that_takes_nothing_is_noticed(tmp_path: Path) -> None:
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="No such file"):
        check_writable(tmp_path / "nowhere")
