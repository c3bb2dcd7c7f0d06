"""The cache of compiled programs: what is to be timed is compiled although it is there, and is there afterwards."""

import jax
import jax.numpy as jnp

from jaxreward.compilation.cache import _keep_in, compiled_anew


def test_what_is_timed_is_compiled_although_it_is_on_disk(tmp_path):
    folder = jax.config.values["jax_compilation_cache_dir"]
    _keep_in(str(tmp_path))
    found = []
    listen = lambda event, **_: found.append(event) if event == "/jax/compilation_cache/cache_hits" else None  # noqa: E731
    compiled = lambda: jax.jit(lambda x: jnp.sin(x) + 3).lower(1.0).compile()  # noqa: E731
    compiled()
    jax.monitoring.register_event_listener(listen)
    try:
        compiled()
        assert len(found) == 1
        files = sorted(path.name for path in tmp_path.iterdir())
        with compiled_anew():
            compiled()
            jax.jit(lambda x: jnp.cos(x) + 3).lower(1.0).compile()
        assert len(found) == 1
        assert set(files) < {path.name for path in tmp_path.iterdir()}
        compiled()
        jax.jit(lambda x: jnp.cos(x) + 3).lower(1.0).compile()
        assert len(found) == 3
    finally:
        jax.monitoring.unregister_event_listener(listen)
        _keep_in(folder)
