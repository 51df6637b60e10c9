import os
import signal
import subprocess
import sys

import pytest

from fusion_rt.control import audit
from fusion_rt.control.audit import AuditLog
from fusion_rt.errors import ConfigError, NodeError


def records(path):
    return [r for r in audit.read(path) if r is not None]


def test_lines_are_appended(tmp_path):
    path = tmp_path / "new" / "audit.jsonl"
    for i in range(3):
        with AuditLog(path) as log:
            log.write({"i": i})
    assert records(path) == [{"i": 0}, {"i": 1}, {"i": 2}]
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_never_grows_beyond_its_bound(tmp_path):
    path = tmp_path / "audit.jsonl"
    with AuditLog(path, max_bytes=2000) as log:
        for i in range(500):
            log.write({"i": i, "text": "x" * 20})
            assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2000
    kept = [record["i"] for record in records(path)]
    assert kept == list(range(kept[0], 500))
    assert len(kept) > 20


def test_a_torn_line_spoils_no_other(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"i": 0}\n{"i": 1, "te')
    with AuditLog(path) as log:
        log.write({"i": 2})
    assert list(audit.read(path)) == [{"i": 0}, None, {"i": 2}]


def test_killed(tmp_path):
    path = tmp_path / "audit.jsonl"
    code = """
import itertools, sys
from pathlib import Path
from fusion_rt.control.audit import AuditLog
log = AuditLog(Path(sys.argv[1]), 10**9)
for i in itertools.count():
    log.write({"i": i, "text": "x" * 500})
    if i == 50:
        print("go", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-I", "-c", code, str(path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = [record["i"] for record in records(path)]
    assert kept == list(range(len(kept)))
    assert len(kept) > 50
    assert len(list(audit.read(path))) - len(kept) <= 1


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="audit"):
        AuditLog(tmp_path / "file" / "audit.jsonl")
    with pytest.raises(ConfigError, match="no such file"):
        list(audit.read(tmp_path / "none"))
    log = AuditLog(tmp_path / "audit.jsonl")
    os.close(log._fd)
    with pytest.raises(NodeError, match="cannot be written"):
        log.write({})
