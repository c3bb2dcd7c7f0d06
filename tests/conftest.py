"""Every test runs on 8 host devices, with the scheduler that cannot hang, and with silent rank promotion forbidden.

Time goes into compilation. So programs are compiled as fast as can be, not to run fast: without LLVM's passes, with
XLA's older emitters, which take a fifth of the time, and in one piece, not in 32 for as many threads. All tests, and
the processes they start, share one cache of compiled programs, which is kept for the next run (`.compiled`, or the
folder that `TESTS_CACHE` names). A module's tests run in one process; what it has compiled is let go once that has
grown large.
"""

import contextlib
import ctypes
import gc
import os
import resource
import shutil
import tempfile
from pathlib import Path

os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_enable_concurrency_optimized_scheduler=false",
        "--xla_backend_optimization_level=0",
        "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters",
        "--xla_cpu_parallel_codegen_split_count=1",
    ]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAXREWARD_CACHE"] = ""
os.environ.setdefault("NPROC", "16")  # threads: fewer than two for each device, and programs that span them hang
os.environ.setdefault("TESTS_CACHE", str(Path(__file__).parents[1] / ".compiled"))
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["TESTS_CACHE"]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

gc.set_threshold(50_000)  # tracing makes many objects, of which few go
MOST_KEPT = 2**30
"""Bytes of compiled programs, of which most belong to code that is no more; then it begins anew."""
if "TESTS_STATE" not in os.environ:  # not a worker: those inherit it
    os.environ["TESTS_STATE"] = tempfile.mkdtemp(prefix="jaxreward-tests-")
    if sum(path.stat().st_size for path in Path(os.environ["TESTS_CACHE"]).glob("*")) > MOST_KEPT:
        shutil.rmtree(os.environ["TESTS_CACHE"])
os.environ["XDG_STATE_HOME"] = os.environ["TESTS_STATE"]  # what tests begin is no user's own

jax.config.update("jax_numpy_rank_promotion", "raise")


@event.listens_for(Engine, "connect")
def _not_flushed(connection, _):
    """Tests' studies may be lost where power is; to wait for the disk takes most of their time."""
    connection.execute("PRAGMA synchronous = OFF")


LONGER = Path(__file__).parent / "longer.txt"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Before those that are deselected are looked for."""
    longer = set(LONGER.read_text().splitlines())
    for item in items:
        if item.nodeid in longer:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def key() -> jax.Array:
    """A PRNG key; split it, never use it twice."""
    return jax.random.key(0)


@pytest.fixture(scope="session", autouse=True)
def frozen():
    """What is imported stays, and need not be looked through each time that something is let go."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def forgotten():
    """What modules compiled goes once a process has become large: each would compile the small programs anew."""
    yield
    if _resident() > MOST_RESIDENT:
        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(OSError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # else it is kept, and what is full seems fuller


MOST_RESIDENT = 2**31
"""Bytes in memory of a process, of its bound of 3 GB."""
BOUND = 3 * 2**30


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """A process for each core, if there is memory for them."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(cores(), memory // BOUND))


def cores():
    """Those that this process may use, where that is told."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _resident():
    """Bytes in memory, or on a system without `/proc` the most there have been."""
    told = Path("/proc/self/statm")
    pages = told.exists() and int(told.read_text().split()[1])
    return pages * resource.getpagesize() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def pytest_sessionfinish(session):
    """A worker tells its peak memory, in GB: its own, and that of the largest process its tests started."""
    kinds = {"itself": resource.RUSAGE_SELF, "largest child": resource.RUSAGE_CHILDREN}
    peak = {name: resource.getrusage(kind).ru_maxrss / 2**20 for name, kind in kinds.items()}
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak"] = peak
    else:
        session.config.stash.setdefault(PEAKS, {})["this process"] = peak
        shutil.rmtree(os.environ["TESTS_STATE"], ignore_errors=True)


PEAKS = pytest.StashKey[dict]()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """What a worker told."""
    peak = getattr(node, "workeroutput", {}).get("peak", {})
    node.config.stash.setdefault(PEAKS, {})[node.gateway.id] = peak


def pytest_terminal_summary(terminalreporter, config):
    """Says how large the run was."""
    for process, peak in config.stash.get(PEAKS, {}).items():
        said = ", ".join(f"{name} {size:.1f} GB" for name, size in peak.items())
        terminalreporter.write_line(f"peak memory of {process}: {said}")
