"""Training ends, and whoever imports the package is protected without having heard of XLA's flags."""

import os
import subprocess
import sys

import pytest

FLAG = "--xla_cpu_enable_concurrency_optimized_scheduler"
LIMIT = 240  # seconds, for what takes a few: a training that hangs never ends

TRAIN = """
import functools, os, sys
import jaxreward
import jax
from gymnax.environments.classic_control.cartpole import CartPole
from jaxreward.agents.baselines.ppo import Config, Hyperparams, ppo
from jaxreward.compilation.cache import compiler_options

assert jax.device_count() == 1
assert os.environ["XLA_FLAGS"] == "--xla_cpu_enable_concurrency_optimized_scheduler=false"
memory, *seeds = map(int, sys.argv[1:])
config = Config(num_envs=64, num_steps=64, memory=memory)
agent = jaxreward.vmap(ppo(CartPole(), CartPole().default_params, config))
compiled = functools.partial(jax.jit, compiler_options=compiler_options())  # as training programs are
three = lambda state: jax.lax.scan(lambda s, _: agent.step(s), state, length=3)
for number in seeds:
    state = compiled(agent.init)(jax.random.split(jax.random.key(0), number), Hyperparams())
    state, metrics = compiled(three)(state)
    print(int(metrics["env_steps"].sum()))
"""


def python(code, *arguments, xla_flags=None):
    """Runs code in a process of its own, with no XLA flags but those given and as many threads as there are cores."""
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC")}
    environment |= {"JAX_PLATFORMS": "cpu"} | ({} if xla_flags is None else {"XLA_FLAGS": xla_flags})
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)


@pytest.mark.parametrize("memory", [0, pytest.param(16, marks=pytest.mark.slow)])
def test_every_agent_trains_to_the_end_over_seeds(memory):
    done = python(TRAIN, memory, 2, 16)
    assert done.returncode == 0, done.stderr
    assert [int(steps) for steps in done.stdout.split()] == [3 * seeds * 64 * 64 for seeds in (2, 16)]


def test_the_command_line_trains_to_the_end_on_every_core(tmp_path):
    """Runs that span devices need more threads than cores: see `jaxreward.compilation.cpu_scheduler.use_every_core`."""
    told = ["train", "--env", "CartPole-v1", "--steps", "12_288", "--seeds", "16", "--folder", str(tmp_path / "run")]
    code = "import sys, jax; from jaxreward.cli import main; code = main(sys.argv[1:]); print(jax.device_count())"
    done = python(f"{code}; sys.exit(code)", *told, "--quiet")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == os.cpu_count()


def test_flags_of_the_user_are_kept_and_a_jax_that_has_not_started_is_not_warned_of():
    own = "--xla_force_host_platform_device_count=3"
    done = python("import jax, os, jaxreward; print(os.environ['XLA_FLAGS'], jax.device_count())", xla_flags=own)
    assert (done.stdout.split(), done.stderr) == ([own, f"{FLAG}=false", "3"], "")


def test_a_choice_of_the_user_is_respected_without_a_warning():
    late = "import jax, os; jax.devices(); import jaxreward; print(os.environ['XLA_FLAGS'])"
    done = python(late, xla_flags=f"{FLAG}=true")
    assert (done.stdout.split(), done.stderr) == ([f"{FLAG}=true"], "")


def test_a_started_jax_is_warned_of_once_and_the_package_works():
    late = "import jax; jax.devices(); import jaxreward.agents.baselines.ppo; print(jaxreward.markov.__name__)"
    done = python(late)
    assert (done.returncode, done.stdout.split()) == (0, ["markov"]), done.stderr
    assert done.stderr.count("UserWarning") == 1
    assert f"XLA_FLAGS={FLAG}=false" in done.stderr
