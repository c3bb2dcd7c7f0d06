"""One process at a time in a folder, and no file of anybody else's touched."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import nullcontext

import pytest

from jaxreward.run.folder import LOCK, check_own, check_unused, hold
from jaxreward.run.job import Job, Setup
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.train import train
from tests.noisy_quadratic import Hyperparams, agent

HOLDER = """
import sys
from pathlib import Path
from jaxreward.run.folder import hold
for folder in iter(sys.stdin.readline, ""):
    with hold(Path(folder.rstrip("\\n"))):
        print("held", flush=True)
        sys.stdin.readline()
    print("free", flush=True)
"""


class Holder:
    """Another process, which holds one folder at a time."""

    def __init__(self):
        command = [sys.executable, "-c", HOLDER]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def holder():
    other = Holder()
    yield other
    other.kill()


def test_a_second_process_is_told_who_holds_it_until_that_is_killed(tmp_path, holder):
    folder = tmp_path / "run"
    assert holder(folder) == "held"
    who = rf"{re.escape(str(folder))}: process {holder.process.pid} on {socket.gethostname()}, since \d{{4}}-\d\d-\d\d "
    with pytest.raises(RunError, match=who), hold(folder):
        pytest.fail("two hold it")
    assert holder("release it") == "free"
    with hold(folder):
        pass
    assert holder(folder) == "held"
    holder.kill()
    with hold(folder):  # nothing was left behind
        assert f'"process": {os.getpid()}' in (folder / LOCK).read_text()


def test_a_run_is_not_trained_where_another_process_is(tmp_path, holder, monkeypatch):
    monkeypatch.setattr("jaxreward.run.chunk.Program.compile", lambda self: pytest.fail("compiled"))
    assert holder(tmp_path / "run") == "held"
    with pytest.raises(RunError, match=f"another process is at work in .*: process {holder.process.pid} on "):
        train(agent, Hyperparams(), iterations=2, folder=tmp_path / "run", resume=True, progress=False)
    with pytest.raises(RunError, match=f"another process is at work in .*: process {holder.process.pid} on "):
        Job(Setup(), tmp_path / "run", 64).train(progress=False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


def test_what_another_process_did_before_the_folder_was_held_is_noticed(tmp_path, monkeypatch):
    run, config = RunFolder(tmp_path), {"config": {}, "population": [{}], "seeds": [0], "iterations": 2}
    monkeypatch.setattr("jaxreward.run.train.hold_together", lambda path: nullcontext(run.write_config(config)))
    with pytest.raises(RunError, match=r"another process was at work in .* just now; start again"):
        train(agent, Hyperparams(), iterations=2, folder=tmp_path, progress=False)
    assert run.read_config() == config


def test_one_waits_where_a_holder_may_be_about_to_end(tmp_path, holder):
    assert holder(tmp_path) == "held"
    timer = threading.Timer(0.3, holder, ["release it"])
    timer.start()
    with hold(tmp_path, seconds=60):
        pass
    timer.join()


def test_who_holds_a_folder_may_hold_it_again_and_another_thread_may_not(tmp_path):
    refused = []

    def intrude():
        try:
            with hold(tmp_path):
                refused.append(False)
        except RunError:
            refused.append(True)

    def from_another_thread():
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()

    with hold(tmp_path):
        with hold(tmp_path):
            from_another_thread()
        from_another_thread()  # the inner one has not given it away
    from_another_thread()
    assert refused == [True, True, False]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, code):
    def flock(*_):
        raise OSError(code, "no locks")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.warns(UserWarning, match="without locks"), hold(tmp_path):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't write to the folder"), hold(tmp_path / "file"):
        pass


def test_what_is_begun_wants_a_new_or_an_empty_folder(tmp_path):
    check_unused(tmp_path / "new")
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    check_unused(tmp_path / "empty")
    (tmp_path / "empty" / "inside" / "reward.py").write_text("")
    with pytest.raises(RunError, match=r"is not empty: it has inside/reward.py\. Choose a folder that is new or empty"):
        check_unused(tmp_path / "empty", begun=["reward.py"])  # the user's own: nobody has begun anything here
    with hold(tmp_path / "empty"):
        check_unused(tmp_path / "empty", begun=["reward.py"])
    with pytest.raises(RunError, match=r"it has inside/reward\.py"):
        check_unused(tmp_path / "empty", begun=["other.py"])


def test_an_empty_name_is_no_folder():
    with pytest.raises(RunError, match="a folder needs a name"):
        RunFolder("")


def test_nothing_of_anybody_elses_is_written_over(tmp_path):
    check_own(tmp_path / "new.html", ours=False)
    (tmp_path / "there.html").write_text("")
    check_own(tmp_path / "there.html", ours=True)
    with pytest.raises(RunError, match=r"there.html is there already and was not made by jaxreward"):
        check_own(tmp_path / "there.html", ours=False)
