"""Every test runs on 8 host devices, with the scheduler that cannot hang, and with silent rank promotion forbidden."""

import os

os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_enable_concurrency_optimized_scheduler=false",
        "--xla_backend_optimization_level=1",  # as training programs are compiled, see jaxreward/compilation/cache.py
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


@pytest.fixture(scope="module")
def compilation_cache(tmp_path_factory):
    """Compiled programs of a module's tests on disk: most of them train the same thing."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("cache")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
