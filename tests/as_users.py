"""How users' programs are compiled: for tests of programs that run for long, or whose last bits count."""

AS_USERS = {"xla_backend_optimization_level": "1", "xla_backend_extra_options": ""}
"""Options for `jax.jit`, in place of those that `conftest.py` has for all."""
