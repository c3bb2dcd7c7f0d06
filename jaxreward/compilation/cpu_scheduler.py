"""Keeps compiled training from hanging on a CPU.

On machines with few cores, jax 0.10's CPU backend never returns from some vmapped training programs: its
concurrency-optimised scheduler waits for threads that are all waiting. XLA reads its flags once, when its first
backend starts, so the cure has to be in the environment before that.

On two cores a recurrent PPO over 8 seeds hung in both of two tries with jax 0.10.2, and in none of five with 0.11.2,
one of them of 60 updates. Five are too few to trust, the scheduler still orders the program differently there, and
without it PPO takes the same CPU time: so it is switched off on both.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import version

DEVICES = "--xla_force_host_platform_device_count"
FLAG = "--xla_cpu_enable_concurrency_optimized_scheduler"
# An XLA that does not know a flag ends the process, so only versions seen to know this one get it.
KNOWN_TO = ((0, 10), (0, 13))


def protect() -> None:
    """Switches the scheduler off for this process, unless the user set the flag; warns if it is too late."""
    flags = os.environ.get("XLA_FLAGS", "")
    if FLAG in flags or not _flag_is_known():
        return
    if _jax_has_started():
        warnings.warn(
            "JAX was already initialised when jaxreward was imported, and on a CPU some vmapped training programs may "
            f"then never return. Import jaxreward first, or set XLA_FLAGS={FLAG}=false",
            stacklevel=3,
        )
        return
    os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=false".strip()


def use_every_core() -> None:
    """Makes each core of a CPU a device, over which runs can be spread; to be called before JAX initialises.

    A program that spans devices needs more threads than there are cores, or its parts wait for each other forever (seen
    with two devices on two cores, with or without the flag above); XLA takes their number from `NPROC`.
    """
    cores, flags = os.cpu_count() or 1, os.environ.get("XLA_FLAGS", "")
    if cores == 1 or DEVICES in flags or _jax_has_started():
        return
    for name, value in device_flags(cores).items():
        os.environ[name] = value


def device_flags(devices: int) -> dict[str, str]:
    """The environment variables of a process whose CPU is to be so many devices."""
    kept = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(DEVICES)]
    threads = os.environ.get("NPROC") or str(2 * max(devices, os.cpu_count() or 1))
    return {"XLA_FLAGS": " ".join([*kept, f"{DEVICES}={devices}"]), "NPROC": threads}


def _flag_is_known() -> bool:
    major, minor = version("jaxlib").split(".")[:2]
    return KNOWN_TO[0] <= (int(major), int(minor)) < KNOWN_TO[1]


def _jax_has_started() -> bool:
    bridge = sys.modules.get("jax._src.xla_bridge")  # JAX has no public way to ask
    return bridge is not None and bool(bridge.backends_are_initialized())
