"""The cache of compiled programs: where it is not to be used it is not, and behind that it is again."""

import jax
import jax.numpy as jnp

from jaxreward.compilation.cache import without_compilation_cache


def test_what_is_timed_is_compiled_although_it_is_on_disk():
    found = []
    listen = lambda event, **_: found.append(event) if event == "/jax/compilation_cache/cache_hits" else None  # noqa: E731
    compiled = lambda: jax.jit(lambda x: jnp.sin(x) + 3).lower(1.0).compile()  # noqa: E731
    compiled()
    jax.monitoring.register_event_listener(listen)
    try:
        compiled()
        assert len(found) == 1
        with without_compilation_cache():
            compiled()
        assert len(found) == 1
        compiled()
        assert len(found) == 2
    finally:
        jax.monitoring.unregister_event_listener(listen)
