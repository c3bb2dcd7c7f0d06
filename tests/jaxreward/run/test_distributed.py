"""Two processes on one machine: the same bits as one with as many devices, whoever dies, fails or is interrupted."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from jax.sharding import Mesh

from jaxreward.run import distributed
from jaxreward.run.checkpoint import saved_iterations
from jaxreward.run.store import RunError, RunFolder

LIMIT = 120  # seconds, for what takes ten: a process that waits for a dead one never ends
HEARTBEAT = 5  # seconds
LONG = 2000

CHILD = """
import sys
folder, coordinator, process, heartbeat, task, *arguments = sys.argv[1:]
from jaxreward.run import distributed
distributed.initialize(coordinator, 2, int(process), heartbeat_seconds=int(heartbeat))
sys.path.insert(0, folder)
from tests.jaxreward.run import test_distributed
getattr(test_distributed, task)(*arguments)
"""
COMMAND = """
import sys
from jaxreward.cli import main
folder, coordinator, process, heartbeat, *arguments = sys.argv[1:]
sys.exit(main([*arguments, "--coordinator", coordinator, "--processes", "2", "--process", process]))
"""


def quadratic(folder, iterations, members=1, **changes):
    from jaxreward.run.train import train
    from tests.noisy_quadratic import Hyperparams, agent

    settings = {"seeds": 2, "log_every": 2, "checkpoint_every": 1, "progress": False, "resume": True}
    population = [{"learning_rate": 0.1 * (1 + member)} for member in range(int(members))]
    batch = Hyperparams(*(np.full(len(population), value, np.float32) for value in Hyperparams(explode_at=-1.0)))
    batch = batch._replace(learning_rate=np.float32([member["learning_rate"] for member in population]))
    settings |= {"population": population, "iterations": int(iterations), "folder": folder}
    return train(agent, batch, **{**settings, **changes})


def errors(folder):
    """What the pieces do; and what one process alone can see goes wrong for both, at once."""
    collectives()
    from jaxreward.run.train import load_state

    leads = distributed.is_leader()
    with pytest.raises(RunError, match="not asked to train the same"):
        quadratic(folder, 4 if leads else 6)
    with pytest.raises(RunError, match="1 members x 3 seeds can't be spread evenly over 2 processes"):
        quadratic(folder, 4, seeds=3)
    with pytest.raises(RunError, match="devices of 1 of the 2 processes"):
        quadratic(folder, 4, mesh=Mesh(np.array(jax.devices()[:1]), ("seed",)))
    assert not RunFolder(folder).exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxreward.run.store.os.replace", full_disk)
        with pytest.raises(RunError, match="No space left on device"):
            quadratic(folder, 4)
    quadratic(folder, 4)
    with pytest.raises(RunError, match="already holds a run"):
        quadratic(folder, 4, resume=False)
    from tests.noisy_quadratic import Hyperparams, agent

    with pytest.raises(RunError, match=r"seed 1: .*loss"):
        quadratic_that_explodes(folder + "-nan")
    assert load_state(folder + "-nan", agent, Hyperparams()).iteration.tolist() == [[4, 4]]


def quadratic_that_explodes(folder):
    from jaxreward.run.train import train
    from tests.noisy_quadratic import Hyperparams, agent

    train(agent, Hyperparams(explode_at=3), iterations=8, folder=folder, seeds=2, log_every=2, on_nan="raise",
          progress=False)  # fmt: skip


def full_disk(source, target):
    assert distributed.is_leader()
    raise OSError(28, "No space left on device")


def collectives():
    """What the pieces do."""
    number = 1 + jax.process_index()
    assert distributed.several()
    assert distributed.from_leader(lambda: [number] * 5000) == [1] * 5000
    with pytest.raises(KeyError, match="1"):
        distributed.from_leader(lambda: {}[number])
    assert distributed.largest([number, -number]) == [2, -1]
    mesh = Mesh(np.array(jax.devices()), ("seed",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("seed"))
    values = np.array([[1.0, np.nan], [np.inf, 2.0]])
    spread = distributed.put(values.astype(np.float32), sharding)
    assert not spread.is_fully_addressable
    np.testing.assert_array_equal(distributed.on_host(spread), values)


@contextlib.contextmanager
def pair(task, *arguments, devices=1, heartbeat=HEARTBEAT, code=CHILD):
    """Two processes of so many devices each; none outlives the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"  # the last one counts
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_COORDINATOR_BIND_ADDRESS": address}
    command = [sys.executable, "-c", code, str(Path(__file__).parents[3]), address]
    told = [str(heartbeat), task, *map(str, arguments)]
    started = [
        subprocess.Popen([*command, str(process), *told], env=environment, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, start_new_session=True) for process in range(2)
    ]  # fmt: skip
    try:
        yield started
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def both(task, *arguments, **options):
    """Lets two processes end well, and what they said."""
    with pair(task, *arguments, **options) as processes:
        said = [process.communicate(timeout=LIMIT)[1].decode() for process in processes]
        assert [process.returncode for process in processes] == [0, 0], said
    return said


def wait_for(processes, reached):
    deadline = time.monotonic() + LIMIT
    while not reached():
        for process in processes:
            assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    """Lets all processes of a kind compile once."""
    folder = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXREWARD_CACHE", folder)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


def mesh_of(*shape):
    """Of one process, the devices that two have together."""
    return Mesh(np.array(jax.devices()[: np.prod(shape)]).reshape(shape), ("population", "seed"))


def assert_same_run(found, expected):
    """All that two runs computed: metrics, and every bit of the last state."""
    frames = [result.metrics.drop(columns="wall_seconds") for result in (found, expected)]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    for leaf, other in zip(*(jax.tree.leaves(result.state) for result in (found, expected)), strict=True):
        np.testing.assert_array_equal(bits(leaf), bits(other))


def bits(leaf):
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf).reshape(-1).view(np.uint8)


def test_two_processes_of_two_devices_are_one_of_four(tmp_path):
    both("quadratic", tmp_path / "two", 8, 2, devices=2)
    expected = quadratic(tmp_path / "one", 8, 2, mesh=mesh_of(2, 2))
    # Nothing is left to train: this reads what two processes wrote.
    assert_same_run(quadratic(tmp_path / "two", 8, 2), expected)
    config = RunFolder(tmp_path / "two").read_config()
    assert (config["device"]["count"], config["runs_per_device"], config["finished"]) == (4, [1, 1], 8)


def test_the_number_of_processes_is_no_part_of_a_run(tmp_path):
    """What one began two end, and the other way round."""
    expected = quadratic(tmp_path / "whole", 8, mesh=mesh_of(1, 2))
    quadratic(tmp_path / "one", 4, mesh=mesh_of(1, 2))
    both("quadratic", tmp_path / "one", 8)
    assert_same_run(quadratic(tmp_path / "one", 8), expected)
    both("quadratic", tmp_path / "two", 4)
    assert_same_run(quadratic(tmp_path / "two", 8, mesh=mesh_of(1, 2)), expected)


def test_ppo_by_the_command_line_of_two_processes(tmp_path):
    from jaxreward.run.job import Job, Setup, job_of

    told = ["--env", "CartPole-v1", "--steps", "128", "--seeds", "2", "--folder", tmp_path / "two"]
    sizes = {"num_envs": 4, "num_steps": 8, "num_minibatches": 1, "num_epochs": 1, "layers": (8,)}
    settings = ["num_envs=4", "num_steps=8", "num_minibatches=1", "num_epochs=1", "layers=8"]
    said = both("train", *told, "--set", *settings, code=COMMAND)
    assert ["2 runs of 128 environment steps" in text for text in said] == [True, False]
    one = Job(Setup(settings=sizes), tmp_path / "one", 128, seeds=(0, 1))
    expected = one.train(progress=False, mesh=mesh_of(1, 2))
    assert_same_run(job_of(tmp_path / "two").train(progress=False), expected)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_and_both_resume_to_the_same_bits(tmp_path, killed):
    folder = tmp_path / "run"
    with pair("quadratic", folder, LONG) as processes:
        wait_for(processes, lambda: saved_iterations(folder / "checkpoints")[-1:] > [6])
        processes[killed].kill()
        said = processes[1 - killed].communicate(timeout=LIMIT)[1].decode()
        assert processes[1 - killed].returncode not in (0, -signal.SIGKILL), said
    reached = saved_iterations(folder / "checkpoints")[-1]
    assert reached < LONG
    end = reached + 6
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "iterations": end}))  # to not wait for the rest
    both("quadratic", folder, end)
    assert_same_run(quadratic(folder, end), quadratic(tmp_path / "alone", end, mesh=mesh_of(1, 2)))


def test_interrupting_one_stops_both_at_the_same_iteration(tmp_path):
    folder = tmp_path / "run"
    with pair("quadratic", folder, LONG) as processes:
        wait_for(processes, lambda: saved_iterations(folder / "checkpoints"))
        processes[1].send_signal(signal.SIGINT)
        said = [process.communicate(timeout=LIMIT)[1].decode() for process in processes]
    stops = [line.split("iteration ")[1].split(";")[0] for text in said for line in text.splitlines()
             if line.startswith("KeyboardInterrupt: stopped at")]  # fmt: skip
    assert len(stops) == 2, said
    assert stops[0] == stops[1] == str(saved_iterations(folder / "checkpoints")[-1])


def test_the_pieces_and_that_errors_of_one_are_errors_of_both(tmp_path):
    both("errors", str(tmp_path / "run"), heartbeat=LIMIT)


@pytest.mark.parametrize(("processes", "process", "message"), [
    (0, 0, "must be positive, not 0"), (2, 2, "process 2 of 2, but they count from 0 to 1"), (2, -1, "process -1"),
    (None, None, "no cluster here"),
])  # fmt: skip
def test_wrong_numbers_are_explained(processes, process, message, monkeypatch):
    def no_cluster(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr("jax.distributed.initialize", no_cluster)
    with pytest.raises(ValueError, match=message):
        distributed.initialize(None, processes, process)


def test_a_single_process_is_its_own_leader():
    assert distributed.is_leader()
    assert distributed.from_leader(lambda: 3) == 3
    assert distributed.largest([1, 2]) == [1, 2]


def test_the_widest_mesh_is_the_best_of_all():
    from jaxreward.run.plan import make_plan, widest_mesh

    for members, seeds in itertools.product(range(1, 13), repeat=2):
        plan = make_plan(np.zeros(members), [{"x": i} for i in range(members)], seeds, 1, None)
        shapes = itertools.product(range(1, 9), repeat=2)
        best = max(x * y for x, y in shapes if x * y <= 8 and members % x == 0 and seeds % y == 0)
        mesh = widest_mesh(plan)
        assert (mesh.size if mesh else 1) == best
        if mesh:
            assert members % mesh.shape["population"] == seeds % mesh.shape["seed"] == 0
