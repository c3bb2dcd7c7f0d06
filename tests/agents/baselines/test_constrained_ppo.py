"""PPO under a constraint whose best policy a linear programme knows."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from jaxreward import vmap
from jaxreward.agents.baselines.ppo import Config, Hyperparams, ppo
from jaxreward.environment import with_reward
from jaxreward.envs.average.never_ending import ContinuingEnv
from jaxreward.mdp import tabular_mdp
from jaxreward.rewards import at_most, constrained, environment_reward
from tests.as_users import AS_USERS

PLACES, SEEDS, ITERATIONS, RATES = 10, 8, 150, (0.4, 1.0)
HERE = np.arange(PLACES)
LEADS = np.eye(PLACES)[np.stack([HERE + 1, HERE + 2], 1) % PLACES]
PAYS = np.stack([0 * HERE, (3 * HERE % PLACES + 1) / PLACES], 1)
ROUND = tabular_mdp(LEADS, PAYS, np.eye(PLACES)[0])
"""A round of ten places: action 1 hurries past one of them, for a pay that depends on the place."""


def best(rate):
    """The most that can be earned a step where that share of steps is hurried: a programme over occupancies."""
    flow = np.eye(PLACES).repeat(2, 1) - LEADS.reshape(-1, PLACES).T
    equations = np.concatenate([flow, np.ones((1, 2 * PLACES))])
    found = linprog(-PAYS.ravel(), [[0, 1] * PLACES], [rate], equations, np.eye(PLACES + 1)[-1], bounds=(0, None))
    return -found.fun


def trained():
    """What each seed earned a step and how often it hurried, over the second half of training, `[rate, seed]` each."""
    hurry = at_most(lambda t: t.action == 1, 0.5)
    env = with_reward(
        ContinuingEnv(ROUND), constrained(environment_reward(), hurry=hurry, learning_rate=0.01, every=512)
    )
    config = Config(num_envs=16, num_steps=32, layers=(16,), num_minibatches=2, centring=True)
    agent, members = vmap(ppo(env, env.default_params, config), population=True), len(RATES) * SEEDS
    params = jax.tree.map(lambda x: jnp.stack([x] * members), env.default_params)
    params.reward["rates"]["hurry"] = jnp.repeat(jnp.array(RATES), SEEDS)
    numbers = Hyperparams(learning_rate=0.01, discount=1.0, entropy_coefficient=0.2)
    numbers = jax.tree.map(lambda x: jnp.full(members, x, float), numbers).replace(env_params=params)

    @partial(jax.jit, compiler_options=AS_USERS)
    def run(keys):
        return jax.lax.scan(lambda state, _: agent.step(state), agent.init(keys, numbers), length=ITERATIONS)[1]

    metrics = run(jax.random.split(jax.random.key(0), members))
    told = [np.asarray(metrics[name])[ITERATIONS // 2 :].mean(0) for name in ("average_env_reward", "average/hurry")]
    return [x.reshape(len(RATES), SEEDS) for x in told]


def test_ppo_keeps_to_a_rate_and_earns_nearly_what_that_allows():
    earned, hurried = trained()
    assert (hurried[1] > 0.6).all()  # where nothing is asked; the best policy hurries always
    mean, error = hurried[0].mean(), hurried[0].std(ddof=1) / np.sqrt(SEEDS)
    assert mean + 2.36 * error < RATES[0] + 0.02  # 95 % of Student's distribution; a twentieth more at the most
    anywhere = RATES[0] * PAYS[:, 1].mean()  # who hurries as often, but wherever
    assert (earned[0] > (anywhere + best(RATES[0])) / 2).all()


def test_what_the_programme_says_where_it_is_known():
    assert best(0.0) == 0
    assert best(0.1) == pytest.approx(0.1)  # at the place that pays 1, in every tenth step
    assert best(1.0) == pytest.approx(0.6)  # every second place, those that pay most
