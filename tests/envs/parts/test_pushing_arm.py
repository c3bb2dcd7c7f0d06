"""The arm against brute force: distances by points, and who gives way by what costs the motors least."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxreward.envs.parts import pushing_arm as arm
from jaxreward.envs.parts.pushing_arm import Stop

pair = lambda x: (jnp.asarray(x[0], float), jnp.asarray(x[1], float))  # noqa: E731


def outline(angles, count=2001):
    """Points of the two links' borders, `[2, n, 2]`, in complex arithmetic."""
    first, second = 1j * np.exp(1j * angles[0]), 1j * np.exp(1j * (angles[0] + angles[1]))
    borders = []
    for joint, along, low, high in ((-1.5j, first, 0.0, 1.0), (-1.5j + first, second, -0.1, 0.9)):
        far = np.linspace(low, high, count)
        sides = [joint + along * (far + side * 0.05j) for side in (-1, 1)]
        across = np.linspace(-0.05, 0.05, count // 10)
        ends = [joint + along * (end + 1j * across) for end in (low, high)]
        borders.append(np.concatenate(sides + ends))
    borders = np.stack(borders)
    return np.stack([borders.real, borders.imag], -1)


def test_directions_are_sines_and_cosines():
    angles = np.linspace(-4.1, 4.1, 1001)
    directions = jax.jit(arm._direction)(jnp.asarray(angles, float))
    np.testing.assert_allclose(np.stack(directions), [-np.sin(angles), np.cos(angles)], atol=1e-6)


def test_nearest_points_are_those_of_the_outline():
    rng = np.random.default_rng(0)
    for angles in rng.uniform(-1, 1, (5, 2)) * arm.LIMITS:
        borders = outline(angles)
        places = rng.uniform(-1.5, 1.5, (40, 2))
        for link, border in zip(arm.links(pair(angles)), borders, strict=True):
            apart = np.linalg.norm(places[:, None] - border, axis=-1)
            outside = np.array(arm.outside(link, pair(places.T)))
            free = outside > 0.01
            point, normal, distance = (np.array(x) for x in arm.nearest(link, pair(places[free].T)))
            np.testing.assert_allclose(distance, apart.min(1)[free], atol=1e-4)
            np.testing.assert_allclose(point.T, border[apart.argmin(1)][free], atol=2e-3)
            np.testing.assert_allclose(point + normal * distance, places[free].T, atol=1e-5)
            assert (outside[free] <= distance + 1e-6).all()
            inside = np.array(arm.outside(link, pair(border.T)))
            np.testing.assert_allclose(inside, 0, atol=1e-5)


def test_levers_are_the_derivatives_of_where_points_are():
    rng = np.random.default_rng(1)
    for angles in rng.uniform(-1, 1, (5, 2)) * arm.LIMITS:
        for index, link in enumerate(arm.links(pair(angles))):
            there = link.joint[0] + 0.7 * link.along[0], link.joint[1] + 0.7 * link.along[1]

            def place(angles, index=index):
                moved = arm.links((angles[0], angles[1]))[index]
                return jnp.stack([joint + 0.7 * way for joint, way in zip(moved.joint, moved.along, strict=True)])

            jacobian = jax.jacobian(place)(jnp.asarray(angles, float))
            for direction in ((1.0, 0.0), (0.6, -0.8)):
                expected = np.asarray(direction) @ np.asarray(jacobian)
                np.testing.assert_allclose(np.array(arm.levers(link, there, direction)), expected, atol=1e-5)


def test_that_joint_gives_way_which_costs_the_motors_least():
    """Equally strong motors that are held back lose, in sum, as little speed as the stop allows."""
    rng = np.random.default_rng(2)
    changes = np.stack(np.meshgrid(*[np.linspace(-4, 4, 801)] * 2), -1).reshape(-1, 2)
    for _ in range(30):
        speeds, levers, least = rng.uniform(-1, 1, 2), rng.uniform(-1, 1, 2), rng.uniform(-0.5, 0.5)
        after = np.array(arm.given_way(pair(speeds), Stop(pair(levers), jnp.asarray(least))))
        assert levers @ after >= least - 1e-5
        allowed = changes[(speeds + changes) @ levers >= least]
        fewest = np.abs(allowed).sum(-1).min()
        assert np.abs(after - speeds).sum() <= fewest + 1e-5
        assert (np.abs(after - speeds) > 1e-6).sum() <= 1


def test_friction_holds_a_point_if_the_motors_forces_are_within_its_cone():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        speeds, levers, along = rng.uniform(-1, 1, (3, 2))
        friction = rng.uniform(0.1, 1)
        force, drag = np.linalg.solve(np.stack([levers, along], -1), -np.sign(speeds))
        expected = (levers @ speeds < 0) and force > 0 and abs(drag) <= friction * force
        assert bool(arm.sticks(pair(speeds), Stop(pair(levers), jnp.zeros(())), pair(along), friction)) == expected
        held += expected
    assert 10 < held < 190


def test_joints_stop_at_their_limits():
    angles = pair(np.array(arm.LIMITS) - [0.01, 0.001])
    speeds = arm.commanded(angles, pair((3.0, 0.5)), 0.02)
    np.testing.assert_allclose(np.array(speeds), [0.5, 0.05], rtol=2e-3)
    np.testing.assert_allclose(np.array(arm.commanded(angles, pair((-3.0, -0.5)), 0.02)), [-1, -0.5], rtol=1e-6)
    after, speeds = arm.turned(angles, pair((50.0, -0.5)), 0.02)
    np.testing.assert_allclose(np.array(after), [arm.LIMITS[0], arm.LIMITS[1] - 0.011], rtol=1e-6)
    np.testing.assert_allclose(np.array(speeds), [0.5, -0.5], rtol=2e-3)
