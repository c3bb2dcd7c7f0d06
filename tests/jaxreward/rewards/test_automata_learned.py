"""An errand that a policy learns which sees the automaton, and that no policy can run which does not."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxreward import vmap
from jaxreward.agents.baselines.parts.tabular import epsilon_greedy_policy
from jaxreward.agents.baselines.q_learning import Config, Hyperparams, q_learning
from jaxreward.environment import with_reward
from jaxreward.mdp import TabularEnv, backward_induction, finite_policy_value, tabular_mdp, value_iteration
from jaxreward.objectives import product
from jaxreward.objectives.product import unseeing
from jaxreward.observed import Observed
from jaxreward.reward import Reward
from jaxreward.rewards.automata import ltl, specification

PLACES, LIMIT, SEEDS, ITERATIONS, JUDGED, EPSILON = 5, 12, 8, 40, 10, 0.05
NEXT = np.clip(np.arange(PLACES)[:, None] + [-1, 1], 0, PLACES - 1)
HALL = tabular_mdp(np.eye(PLACES)[NEXT], np.zeros(PLACES), np.eye(PLACES)[PLACES // 2])
ERRAND = "F (left & F (right & F left))"
MACHINE = specification(ERRAND).machine
PAIRS = product(HALL, MACHINE, {"left": np.arange(PLACES) == 0, "right": np.arange(PLACES) == PLACES - 1})


def ends(t):
    return {"left": t.next_state.index == 0, "right": t.next_state.index == PLACES - 1}


def errand():
    """The formula's reward, which shows its automaton times a param: with 1 a policy sees it, with 0 it does not."""
    inner, states = ltl(ERRAND, ends, observed=False), MACHINE.num_states

    def step(params, memory, transition):
        after, paid = inner.step(params["inner"], memory[0], transition)
        return (after, Observed(after * params["sight"], states)), paid

    return Reward(
        lambda key: {"inner": inner.init(key), "sight": jnp.ones((), jnp.int32)},
        lambda params: (inner.reset(params["inner"]), Observed(jnp.zeros((), jnp.int32), states)),
        step,
    )


def learned():
    """How often the last 850 or so episodes satisfied the formula, of policies that see and of others, `[2, seed]`."""
    env = with_reward(TabularEnv(HALL, max_steps_in_episode=LIMIT, one_hot=False), errand())
    agent = vmap(vmap(q_learning(env, env.default_params, Config(num_envs=16, num_steps=64))), population=True)
    params = jax.tree.map(lambda x: jnp.stack([x, x]), env.default_params)
    params.reward["sight"] = jnp.array([1, 0], jnp.int32)
    numbers = Hyperparams(
        *jnp.tile(jnp.array([[0.5], [0.0], [0.95], [1.0], [EPSILON], [25_000.0], [0.0]]), 2), env_params=params
    )

    @jax.jit
    def run(keys):
        return jax.lax.scan(lambda state, _: agent.step(state), agent.init(keys, numbers), length=ITERATIONS)[1]

    metrics = run(jax.random.split(jax.random.key(0), (2, SEEDS)))
    metrics = jax.tree.map(lambda leaf: np.asarray(leaf)[-JUDGED:].reshape(JUDGED, 2, SEEDS), metrics)
    number = metrics["episode/count"]
    return (number * metrics["episode/return"]).sum(0) / number.sum(0), number.sum(0)


def of_pairs(policies):
    """The exact probability that an episode of each of some policies satisfies the formula."""
    each = lambda policy: finite_policy_value(PAIRS, jnp.broadcast_to(policy, (LIMIT, *policy.shape)))[0]  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(each))(policies) @ PAIRS.start)


def test_only_a_policy_that_sees_the_automaton_learns_to_come_back():
    assert backward_induction(PAIRS, LIMIT).value[0] @ PAIRS.start == 1.0
    best = epsilon_greedy_policy(value_iteration(PAIRS, 0.95).action_value, EPSILON)
    right = np.stack(np.meshgrid(*[np.linspace(0, 1, 7)] * PLACES), -1).reshape(-1, PLACES)  # all kinds of policies
    blind = jax.vmap(lambda p: unseeing(jnp.stack([1 - p, p], 1), MACHINE))(jnp.asarray(right, float))
    exact, *others = of_pairs(jnp.concatenate([best[None], blind]))
    sure = np.isin(right, (0, 1)).all(1)
    assert np.max(np.asarray(others)[sure]) == 0.0
    assert np.max(others) < 0.02

    (seeing, unable), (many, also) = learned()
    error = np.sqrt(exact * (1 - exact) / many.sum())  # of a share of so many episodes
    assert abs(np.average(seeing, weights=many) - exact) < 4 * error
    assert (unable < np.max(others) + 4 * np.sqrt(np.max(others) / also)).all()
