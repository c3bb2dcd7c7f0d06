"""BARFI's outer level: a step in `phi`, up the implicit or the unrolled gradient of the primary return."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agents.barfi.parts.config import Hyperparams
from jaxreward.agents.barfi.parts.inner import Aligned, Data, InnerLevel, Learning, Params, moved
from jaxreward.agents.barfi.parts.replay import Replay
from jaxreward.agents.baselines.parts.learner import (
    Scalar,
    returns_to_go,
)
from jaxreward.learning import bilevel
from jaxreward.learning.episodes import Episodes


@dataclass(frozen=True)
class OuterLevel(InnerLevel):
    """What the reward and the discount learn from what the policy becomes."""

    def outer(self, learning: Learning, replay: Replay, hyperparams: Hyperparams, key: Key[Array, ""]) -> Learning:
        """A step in `phi` or, unrolled, of both levels."""
        if self.config.solver == "unrolled":
            found, policy, optimiser = self.unrolled(learning, replay, hyperparams, key)
            return self.realign(moved(learning, policy, optimiser), found, hyperparams)
        return self.realign(learning, self.implicit(learning.params, replay, hyperparams, key), hyperparams)

    def primary(self, replay: Replay, discount: Scalar) -> Data:
        """The newest episodes, weighed by the primary reward."""
        episodes = self.buffer.newest(replay, self.config.outer_batch or self.config.num_envs)
        return self.data(episodes, returns_to_go(episodes.steps.reward, discount))

    def implicit(
        self, params: Params, replay: Replay, hyperparams: Hyperparams, key: Key[Array, ""]
    ) -> bilevel.Gradient:
        """The gradient of `J_p` at the fixed point, with derivatives of the update on earlier episodes."""
        primary = self.primary(replay, hyperparams.discount)
        gradient = jax.grad(self.learner.surrogate)(params.policy, *primary)
        episodes = self.buffer.sample(replay, key, self.config.curvature_batch, self.config.num_envs)

        def update(policy: PyTree, aligned: Aligned) -> PyTree:
            return self.update(policy, self.aligned_data(aligned, episodes), hyperparams)

        return bilevel.implicit_gradient(update, *params, gradient, self.solver(hyperparams))

    def unrolled(
        self, learning: Learning, replay: Replay, hyperparams: Hyperparams, key: Key[Array, ""]
    ) -> tuple[bilevel.Gradient, PyTree, PyTree]:
        """The gradient through the inner steps, and where these lead."""
        drawn = self.buffer.sample(replay, key, self.config.inner_steps * self.config.batch)
        primary = self.primary(replay, hyperparams.discount)

        def step(now: tuple[PyTree, PyTree], aligned: Aligned, episodes: Episodes) -> tuple[PyTree, PyTree]:
            return self.ascend(now, self.aligned_data(aligned, episodes), hyperparams)[0]

        def outer(now: tuple[PyTree, PyTree]) -> Float[Array, ""]:
            return self.learner.surrogate(now[0], *primary)

        start = (learning.params.policy, learning.optimisers[0])
        gradient, (policy, optimiser) = bilevel.unrolled_gradient(
            step, outer, start, learning.params.aligned, self.batches(drawn)
        )
        return bilevel.Gradient(gradient, {}), policy, optimiser

    def realign(self, learning: Learning, found: bilevel.Gradient, hyperparams: Hyperparams) -> Learning:
        """A step in `phi`, less what the penalties ask for."""
        policy, aligned = learning.params
        of_policy, of_reward, of_discount = learning.optimisers
        penalty = jax.grad(lambda phi: self.penalty(phi, hyperparams))(aligned)
        gradient = jax.tree.map(jnp.subtract, found.phi, penalty)
        of_rate = lambda rate: self.ascent(hyperparams, rate)  # noqa: E731
        change, of_reward = of_rate(hyperparams.reward_learning_rate).update(gradient.reward, of_reward)
        turn, of_discount = of_rate(hyperparams.discount_learning_rate).update(gradient.logit, of_discount)
        aligned = optax.apply_updates(aligned, Aligned(change, turn))
        told = {**found.metrics, "outer/gradient_norm": optax.tree.norm(found.phi)}
        return Learning(Params(policy, aligned), (of_policy, of_reward, of_discount), told)

    def penalty(self, aligned: Aligned, hyperparams: Hyperparams) -> Float[Array, ""]:
        """`lambda_gamma gamma_phi + lambda_r ||phi_r||`, the norm of each array by itself, flat at zero."""
        norms = sum(optax.safe_norm(x, 1e-12) for x in jax.tree.leaves(aligned.reward))
        return hyperparams.discount_penalty * aligned.discount + hyperparams.reward_penalty * norms

    def solver(self, hyperparams: Hyperparams) -> bilevel.Solver:
        """Of the linear system behind the implicit gradient."""
        number, damping = self.config.num_terms, hyperparams.damping
        solvers = {
            "neumann": lambda: bilevel.neumann(number, hyperparams.alpha),
            "first_order": bilevel.first_order,
            "cg": lambda: bilevel.cg(number, damping),
            "gmres": lambda: bilevel.gmres(number, damping),
            "dense": lambda: bilevel.dense(clip=damping),
        }
        return solvers[self.config.solver]()
