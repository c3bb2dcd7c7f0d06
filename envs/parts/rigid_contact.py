"""A disc that touches things in the plane: impulses with friction and restitution, and moves that stop at surfaces.

In the manner of Box2D: sequential impulses, a skin in which things touch, restitution only where they meet fast.
Vectors are pairs of scalars: under `vmap` each is an array over the batch, and a step is a few loops over these.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

Scalar = Float[Array, ""] | float
Vector = tuple[Scalar, Scalar]

SLOWEST_BOUNCE = 1.0
"""What approaches more slowly, in m/s, does not bounce."""


@struct.dataclass
class Contact:
    """Something near a disc, which the disc does not move.

    Attributes:
        normal: The direction from it to the disc, of length 1.
        gap: How far the disc may approach it, in m; negative where it is too near.
        closing: How fast its surface moves along the normal, in m/s.
        sliding: How fast its surface moves along the normal turned left, in m/s.
        grip: The impulse by the disc's mass, in m/s, with which the disc is pressed onto it beyond what stops the disc.
        friction: The coefficient of friction.
    """

    normal: Vector
    gap: Scalar
    closing: Scalar = 0.0
    sliding: Scalar = 0.0
    grip: Scalar = 0.0
    friction: float = struct.field(pytree_node=False, default=0.0)


@struct.dataclass
class DiscMotion:
    """How a disc moves: its velocity, and how fast its rim goes round its middle, counter-clockwise, all in m/s."""

    velocity: Vector
    rim: Scalar


def dot(a: Vector, b: Vector) -> Scalar:
    """The inner product."""
    return a[0] * b[0] + a[1] * b[1]


def cross(a: Vector, b: Vector) -> Scalar:
    """The area between `a` and `b`, positive if `b` is to the left of `a`."""
    return a[0] * b[1] - a[1] * b[0]


def plus(a: Vector, b: Vector, times: Scalar = 1.0) -> Vector:
    """`a + times b`."""
    return a[0] + times * b[0], a[1] + times * b[1]


def left_of(a: Vector) -> Vector:
    """The vector turned by a quarter of a circle to the left."""
    return -a[1], a[0]


def collided(
    motion: DiscMotion, contacts: Sequence[Contact], skin: float, restitution: float, iterations: int
) -> DiscMotion:
    """How a disc moves after the impulses of all that it touches, which are corrected one after the other, repeatedly.

    A contact ends the approach or, if this was faster than `SLOWEST_BOUNCE`, turns it into `restitution` times as fast
    a departure. Friction brakes what slides, by at most the coefficient times the sum of the impulse along the normal
    and the grip. The disc is homogeneous: an impulse at its rim moves this three times as much as it moves the middle.

    Args:
        motion: Before.
        contacts: What is near.
        skin: Up to which gap, in m, things touch.
        restitution: Speed of departure by speed of approach.
        iterations: How often each impulse is corrected; a single contact is exact after one.
    """
    departures = tuple(_departure(motion, contact, restitution) for contact in contacts)
    zero = jnp.zeros_like(motion.rim)

    def correct(_: int, carry: tuple) -> tuple:
        motion, impulses = carry
        for index, (contact, departure) in enumerate(zip(contacts, departures, strict=True)):
            motion, impulse = _corrected(motion, contact, skin, departure, impulses[index])
            impulses = (*impulses[:index], impulse, *impulses[index + 1 :])
        return motion, impulses

    return jax.lax.fori_loop(0, iterations, correct, (motion, ((zero, zero),) * len(contacts)))[0]


def kept_out(move: Vector, contacts: Sequence[Contact], dt: float, iterations: int) -> Vector:
    """A move, in m, of a disc within `dt` seconds, changed so that it ends in nothing: in the last contact for sure.

    Nothing is relied on to make way: the disc goes where that was a move later.
    """

    def correct(_: int, move: Vector) -> Vector:
        for contact in contacts:
            entered = depth(move, contact) + dt * jnp.maximum(contact.closing, 0.0)
            move = plus(move, contact.normal, jnp.maximum(entered, 0.0))
        return move

    return jax.lax.fori_loop(0, iterations, correct, move)


def depth(move: Vector, contact: Contact) -> Scalar:
    """How deep in a thing that stands still the disc would be after a move, in m; negative: how far from it."""
    return -contact.gap - dot(contact.normal, move)


def jams(one: Contact, other: Contact, skin: float) -> Bool[Array, ""]:
    """Whether two things that approach each other hold a disc between them, which then only rolls.

    It is not squeezed out if the line between the two points of contact is within both cones of friction: if the angle
    of half the wedge has a tangent below the smaller coefficient.
    """
    friction = min(one.friction, other.friction)
    touched = jnp.maximum(one.gap, other.gap) <= skin
    return jnp.logical_and(touched, dot(one.normal, other.normal) < 1 - 2 / (1 + friction**2))


def _departure(motion: DiscMotion, contact: Contact, restitution: float) -> Scalar:
    approach = contact.closing - dot(contact.normal, motion.velocity)
    return jnp.where(approach > SLOWEST_BOUNCE, restitution * approach, 0.0)


def _corrected(
    motion: DiscMotion, contact: Contact, skin: float, departure: Scalar, impulse: Vector
) -> tuple[DiscMotion, Vector]:
    """The motion and a contact's impulse, along the normal and across, by the disc's mass, after a correction."""
    normal, across = contact.normal, left_of(contact.normal)
    speed = dot(normal, motion.velocity) - contact.closing
    push = jnp.where(contact.gap <= skin, jnp.maximum(impulse[0] + departure - speed, 0.0), 0.0)
    velocity = plus(motion.velocity, normal, push - impulse[0])
    slip = dot(across, velocity) - motion.rim - contact.sliding
    most = contact.friction * (push + contact.grip)
    drag = jnp.clip(impulse[1] - slip / 3, -most, most)
    change = drag - impulse[1]
    return DiscMotion(plus(velocity, across, change), motion.rim - 2 * change), (push, drag)
