"""Gems, step for step beside their rules in Python, and single steps by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs import make
from jaxreward.envs.games.gems import MOVES, CleanGems, Gems, GemsParams, GemsState

SIZE, COPIES, STEPS = 3, 64, 60
PARAMS = GemsParams(own_reward=(1.0, 2.0), purple_reward=(6.0, 5.0), max_steps_in_episode=9)
KINDS = {"v0": partial(Gems, observation="planes"), "v1": CleanGems}


def paid_and_taken(gems, agents, moved, action, quirks):
    """What a step pays and which gems it takes, one agent after the other and gem by gem."""
    reward, taken, touched = [0.0, 0.0], set(), [None, None]
    for agent in range(2):
        if quirks:
            for gem in range(6, 9):
                touched[agent] = gem if gems[gem] == agents[agent] else touched[agent]
        for gem in range(6, 9):
            touched[agent] = gem if gems[gem] == moved[agent] else touched[agent]
        own = [gem for gem in range(3 * agent, 3 * agent + 3) if gems[gem] == moved[agent]]
        taken |= set(own)
        reward[agent] += PARAMS.own_reward[agent] * (bool(own) if quirks else len(own))
    together = {gem for gem in range(6, 9) if gems[gem] == moved[0] == moved[1]}
    purple = (set(touched) if None not in touched else set()) if quirks else together
    if purple:
        reward = [reward[agent] + PARAMS.purple_reward[agent] for agent in range(2)]
    return reward, taken | purple


@pytest.fixture(scope="module", params=KINDS)
def walks(request):
    """Random steps of some copies that begin anew where an episode ends; and the same steps started by hand."""
    env = KINDS[request.param](size=SIZE)

    def step(now, key):
        key_action, key_step, key_reset = jax.random.split(key, 3)
        action = jax.random.randint(key_action, (2,), 0, 5)
        shown, after, reward, terminated, info = env.step_env(key_step, now, action, PARAMS)
        truncated = env.is_truncated(after, PARAMS)
        fresh = env.reset_env(key_reset, PARAMS)[1]
        following = jax.tree.map(lambda x, y: jnp.where(terminated | truncated, x, y), fresh, after)
        return following, (now, action, after, shown, reward, terminated, truncated, info)

    @jax.jit
    @jax.vmap
    def run(key):
        return jax.lax.scan(step, env.reset_env(key, PARAMS)[1], jax.random.split(key, STEPS))[1]

    steps = jax.device_get(run(jax.random.split(jax.random.key(0), COPIES)))
    return request.param, env, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), steps)


def test_every_step_beside_the_rules(walks):
    kind, _, (before, action, after, _, reward, terminated, truncated, info) = walks
    events = np.zeros(2)
    for t in range(COPIES * STEPS):
        agents, gems = before.agents[t].tolist(), before.gems[t].tolist()
        moves = [MOVES[each] for each in action[t]]
        moved = [
            [min(max(x + dx, 0), SIZE - 1) for x, dx in zip(*pair, strict=True)]
            for pair in zip(agents, moves, strict=True)
        ]
        expected, taken = paid_and_taken(gems, agents, moved, action[t], kind == "v0")
        assert after.agents[t].tolist() == moved
        np.testing.assert_array_equal(reward[t], expected)
        kept = [gem for gem in range(9) if gem not in taken]
        np.testing.assert_array_equal(after.gems[t][kept], before.gems[t][kept])
        assert (after.gems[t][list(taken)] >= 1).all()
        assert (after.gems[t] < SIZE).all()
        assert after.collected[t] == before.collected[t] + len(taken)
        assert terminated[t] == (after.collected[t] >= 7)
        assert truncated[t] == (after.time[t] >= 9)
        assert info["purple"][t] == bool(taken & {6, 7, 8})
        events += [bool(taken & {6, 7, 8}), bool(taken - {6, 7, 8})]
    assert (events > 50).all()
    assert terminated.any()
    assert (truncated & ~terminated).any()


def test_gems_appear_everywhere_but_in_the_first_row_and_column(walks):
    _, _, (before, *_, after, _, _, _, _, _) = walks
    # Of those that were in the first row or column it is seen wherever they come.
    moved = after.gems[(after.gems != before.gems).any(-1) & (before.gems == 0).any(-1)]
    cells = np.bincount((SIZE * moved[:, 0] + moved[:, 1]), minlength=SIZE * SIZE).reshape(SIZE, SIZE)
    assert cells[0].sum() == cells[:, 0].sum() == 0
    share = cells[1:, 1:] / cells.sum()
    # Four cells alike, within five standard errors.
    np.testing.assert_allclose(share, 1 / 4, atol=5 * np.sqrt(3 / 16 / cells.sum()))


def seen_by_hand(agents, gems, agent):
    """What `features` tells, from its docstring."""
    here, partner = agents[agent], agents[1 - agent]
    own, others, purple = gems[3 * agent : 3 * agent + 3], gems[3 - 3 * agent : 6 - 3 * agent], gems[6:]
    near = lambda ways: ways[np.argsort(np.abs(ways).sum(-1), kind="stable")]  # noqa: E731
    to_own, to_purple = near(own - here), near(purple - here)
    from_partner = to_purple + here - partner
    ways = [to_own, to_purple, partner - here, from_partner, near(others - partner)]
    on = [(each == 0).all(-1).any() for each in (to_purple, from_partner)]
    signs = np.sign(np.concatenate([to_own, to_purple]))
    half = (SIZE - 1) / 2
    return np.concatenate([*(way.ravel() / half for way in ways), signs.ravel(), on, here / (SIZE - 1)])


def test_what_is_seen(walks):
    kind, env, (_, _, after, shown, *_) = walks
    space = env.observation_space()
    assert shown.shape[1:] == (2, *space.shape)
    assert (shown >= space.low).all()
    assert (shown <= space.high).all()
    for t in range(0, COPIES * STEPS, 7):
        agents, gems = after.agents[t], after.gems[t]
        if kind == "v0":
            expected = np.zeros((5, SIZE, SIZE))
            for plane, places in enumerate([agents[:1], agents[1:], gems[:3], gems[3:6], gems[6:]]):
                expected[plane, places[:, 0], places[:, 1]] = 1
            expected = [expected, expected]
        else:
            expected = [seen_by_hand(agents, gems, agent) for agent in range(2)]
        np.testing.assert_allclose(shown[t], expected, atol=1e-6)


FAR = [[9, 9]] * 9
UP, RIGHT, DOWN, LEFT, STAY = 0, 1, 2, 3, 4


def laid(**gems):
    """Gems far away, but for those named by number."""
    return [gems.get(f"gem{number}", place) for number, place in enumerate(FAR)]


CASES = {
    # name: agents, gems, actions, rewards of v0 and of v1, collected by v0 and by v1
    "own": ([[1, 1], [5, 5]], laid(gem0=[1, 2]), (UP, STAY), (1, 0), (1, 0), 1, 1),
    "not_the_others": ([[1, 1], [5, 5]], laid(gem3=[1, 2]), (UP, STAY), (0, 0), (0, 0), 0, 0),
    "two_own_on_one_cell": ([[1, 1], [5, 5]], laid(gem0=[1, 2], gem2=[1, 2]), (UP, STAY), (1, 0), (2, 0), 2, 2),
    "purple_alone": ([[1, 1], [5, 5]], laid(gem6=[1, 2]), (UP, STAY), (0, 0), (0, 0), 0, 0),
    "purple_together": ([[1, 1], [2, 2]], laid(gem6=[1, 2]), (UP, LEFT), (6, 6), (6, 6), 1, 1),
    "two_different_purple": ([[1, 1], [5, 5]], laid(gem6=[1, 2], gem7=[5, 5]), (UP, STAY), (6, 6), (0, 0), 2, 0),
    "left_behind": ([[1, 2], [5, 5]], laid(gem6=[1, 2], gem7=[5, 5]), (UP, STAY), (6, 6), (0, 0), 2, 0),
    "one_leaves_one_comes": ([[1, 2], [1, 1]], laid(gem8=[1, 2]), (RIGHT, UP), (6, 6), (0, 0), 1, 0),
    "the_last_of_two": ([[1, 1], [2, 2]], laid(gem6=[1, 2], gem7=[1, 2]), (UP, LEFT), (6, 6), (6, 6), 1, 2),
    "the_later_one": ([[1, 1], [1, 2]], laid(gem6=[1, 2], gem8=[1, 1]), (UP, STAY), (6, 6), (6, 6), 1, 1),
    "both_kinds": ([[1, 1], [2, 2]], laid(gem6=[1, 2], gem3=[1, 2]), (UP, LEFT), (6, 7), (6, 7), 2, 2),
    "the_border": ([[0, 14], [5, 5]], laid(gem0=[0, 14]), (UP, STAY), (1, 0), (1, 0), 1, 1),
}


@pytest.mark.parametrize(("make_env", "column"), [(Gems, 3), (CleanGems, 4)])
def test_single_steps_by_hand(make_env, column):
    env, cases = make_env(), list(CASES.values())
    agents, gems, actions = (jnp.asarray([case[k] for case in cases], jnp.int32) for k in range(3))
    zeros = jnp.zeros(len(cases), jnp.int32)
    keys = jax.random.split(jax.random.key(1), len(cases))
    step = jax.jit(jax.vmap(lambda *x: env.step_env(*x, GemsParams())[1:4]))
    after, reward, terminated = step(keys, GemsState(agents, gems, zeros, zeros), actions)
    for number, (name, case) in enumerate(CASES.items()):
        assert tuple(reward[number].tolist()) == case[column], name
        assert after.collected[number] == case[column + 2], name
    assert not terminated.any()


def test_they_are_made_by_name_and_refuse_what_they_are_not():
    env, params = make("games/gems?size=6&observation=planes", gems_to_end=3)
    assert (env.name, env.num_agents, params.gems_to_end) == ("games/gems", 2, 3)
    assert env.observation_space(params).shape == (5, 6, 6)
    with pytest.raises(ValueError, match="did you mean 'planes'"):
        make("games/gems?observation=plane")
    with pytest.raises(ValueError, match="size=1"):
        make("games/gems?size=1")
    with pytest.raises(ValueError, match="did you mean 'games/gems'"):
        make("games/gem")
