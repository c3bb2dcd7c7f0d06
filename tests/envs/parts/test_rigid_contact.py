"""A disc's contacts against hand calculations and balances of momentum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.parts.rigid_contact import Contact, DiscMotion, collided, depth, jams, kept_out


def motion(x, y, rim=0.0):
    return DiscMotion((jnp.asarray(x, float), jnp.asarray(y, float)), jnp.asarray(rim, float))


def contact(angle, gap=0.0, closing=0.0, sliding=0.0, friction=0.5):
    """A surface whose normal is at an angle, in degrees."""
    normal = jnp.cos(jnp.deg2rad(angle)), jnp.sin(jnp.deg2rad(angle))
    return Contact(normal, jnp.asarray(gap, float), jnp.asarray(closing), jnp.asarray(sliding), friction=friction)


def numbers(after):
    return np.array([*after.velocity, after.rim], float)


# The floor has its normal upwards, whose left is -x: what rolls to the right turns clockwise, a negative rim speed.
@pytest.mark.parametrize(
    ("before", "floor", "after"),
    [
        ((0, -2, 0), {}, (0, 1.6, 0)),  # 80 % of the speed comes back
        ((0, -0.99, 0), {}, (0, 0, 0)),  # not faster than 1 m/s
        ((0, -2, 0), {"gap": 0.02}, (0, -2, 0)),  # out of reach
        ((0, 1, 0), {}, (0, 1, 0)),  # leaving
        ((0, 0, 0), {"closing": 0.5}, (0, 0.5, 0)),  # lifted
        ((0, 0, 0), {"closing": 2.0}, (0, 3.6, 0)),  # hit
        ((3, -2, 0), {}, (2, 1.6, -2)),  # grips: a third of the slip goes into the speed, two into the rim
        ((30, -2, 0), {}, (28.2, 1.6, -3.6)),  # slips: the brake is half of what the bounce takes
        ((3, -0.9, 0), {}, (2.55, 0, -0.9)),  # the same without a bounce
        ((0, -2, 3), {}, (-1, 1.6, 1)),  # spin becomes speed
        ((0, -0.5, 0), {"sliding": -0.9}, (0.25, 0, 0.5)),  # a belt that runs to the right, which slips
    ],
)
def test_one_contact_is_as_by_hand(before, floor, after):
    for iterations in (1, 4):
        hit = jax.jit(lambda m, c, n=iterations: collided(m, [c], 0.01, 0.8, n))
        np.testing.assert_allclose(numbers(hit(motion(*before), contact(90, **floor))), after, atol=1e-5)


def test_turning_the_world_turns_what_happens():
    """And a mirrored world mirrors it: the rim then goes round the other way."""

    @jax.jit
    @jax.vmap
    def hit(x, y, rim, angle, closing, sliding):
        after = collided(motion(x, y, rim), [contact(angle, closing=closing, sliding=sliding)], 0.01, 0.8, 2)
        return after.velocity[0] + 1j * after.velocity[1], after.rim

    x, y, rim, angle, closing, sliding, turn = np.random.default_rng(0).uniform(-3, 3, (7, 100))
    to_surface = 60 * angle
    velocity, spin = hit(x, y, rim, to_surface, closing, sliding)
    turned = (x + 1j * y) * np.exp(1j * turn)
    after = hit(turned.real, turned.imag, rim, to_surface + np.rad2deg(turn), closing, sliding)
    np.testing.assert_allclose(after[0], velocity * np.exp(1j * turn), atol=2e-5)
    np.testing.assert_allclose(after[1], spin, atol=2e-5)
    after = hit(-x, y, -rim, 180 - to_surface, closing, -sliding)
    np.testing.assert_allclose(after[0], -np.conj(velocity), atol=2e-5)
    np.testing.assert_allclose(after[1], -spin, atol=2e-5)


@pytest.mark.parametrize("restitution", [0.0, 0.8])
def test_things_at_rest_take_energy_and_are_not_entered(restitution):
    """With three of them around the disc, each of which presses, sticks or slips."""
    rng = np.random.default_rng(1)
    before = rng.normal(0, 3, (500, 3))
    angles = rng.uniform(0, 360, (500, 3))
    gaps = rng.uniform(-0.01, 0.02, (500, 3))

    def hit(numbers, angles, gaps):
        around = [contact(angle, gap, friction=0.7) for angle, gap in zip(angles, gaps, strict=True)]
        after = collided(motion(*numbers), around, 0.01, restitution, 300)
        return jnp.stack([*after.velocity, after.rim])

    after = np.asarray(jax.jit(jax.vmap(hit))(jnp.asarray(before), jnp.asarray(angles), jnp.asarray(gaps)), float)
    energy = lambda v: (v[:, :2] ** 2).sum(1) / 2 + v[:, 2] ** 2 / 4  # noqa: E731
    assert (energy(after) <= energy(before) + 1e-4).all()
    normals = np.stack([np.cos(np.deg2rad(angles)), np.sin(np.deg2rad(angles))], -1)
    leaving = np.where(gaps <= 0.01, (normals * after[:, None, :2]).sum(-1), 0)
    if restitution == 0:
        assert leaving.min() > -1e-3


def test_moves_end_at_surfaces_and_are_otherwise_free():
    floor, wall = contact(90, gap=0.1), contact(180, gap=0.2)
    move = lambda x, y, *around: np.array(kept_out((jnp.asarray(x), jnp.asarray(y)), around, 0.5, 2))  # noqa: E731
    np.testing.assert_allclose(move(0.3, -0.4, floor), [0.3, -0.1], atol=1e-6)
    np.testing.assert_allclose(move(0.3, -0.4, floor, wall), [0.2, -0.1], atol=1e-6)
    np.testing.assert_allclose(move(0.1, 0.4, floor, wall), [0.1, 0.4], atol=1e-6)
    np.testing.assert_allclose(move(0.0, 0.0, contact(90, gap=-0.1)), [0, 0.1], atol=1e-6)
    np.testing.assert_allclose(move(0.0, 0.0, contact(90, gap=0.1, closing=1.0)), [0, 0.4], atol=1e-6)
    np.testing.assert_allclose(move(0.0, -0.4, contact(90, gap=0.1, closing=-1.0)), [0, -0.1], atol=1e-6)
    np.testing.assert_allclose(depth((0.3, -0.4), floor), 0.3, atol=1e-6)


@pytest.mark.parametrize("friction", [0.2, 0.424, 0.9])
def test_a_wedge_holds_a_disc_if_its_half_is_within_the_cone_of_friction(friction):
    """Two forces along the line between the points of contact balance; each is half the wedge off its normal."""
    for wedge in range(5, 175, 10):
        held = np.tan(np.deg2rad(wedge / 2)) < friction
        one, other = contact(-90 - wedge / 2, friction=friction), contact(90 + wedge / 2, friction=friction + 1)
        assert bool(jams(one, other, 0.01)) == held
        assert bool(jams(other, one, 0.01)) == held
        assert not jams(one, other.replace(gap=jnp.asarray(0.02)), 0.01)
