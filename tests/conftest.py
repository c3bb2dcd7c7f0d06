"""Every test runs on 8 host devices, with the scheduler that cannot hang, and with silent rank promotion forbidden."""

import os

os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_enable_concurrency_optimized_scheduler=false",
    ]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAXREWARD_CACHE"] = ""
os.environ.setdefault("NPROC", "16")  # threads: fewer than two for each device, and programs that span them hang

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key() -> jax.Array:
    """A PRNG key; split it, never use it twice."""
    return jax.random.key(0)
