from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from cbi_pipeline.errors import CbiError
from cbi_pipeline.processes import is_alive, only_run


def test_a_process_is_told_from_a_later_one_with_its_number():
    assert is_alive(os.getpid(), time.time())
    assert not is_alive(os.getpid(), time.time() - 7 * 24 * 3600), "seen before it began: that was another process"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert not is_alive(ended.pid, time.time())


def test_where_ps_is_missing_the_number_alone_decides(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert is_alive(os.getpid(), time.time() - 7 * 24 * 3600)


def test_the_lock_has_one_holder_and_names_it(tmp_path):
    with only_run(tmp_path), pytest.raises(CbiError, match=f"process {os.getpid()}"), only_run(tmp_path):
        pass
    with only_run(tmp_path):
        pass
