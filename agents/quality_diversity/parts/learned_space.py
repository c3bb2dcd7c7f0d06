"""A space of behaviours that is learned from pictures, as in TAXONS and STAX (arXiv:1909.05508, 2111.01919)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.agents.quality_diversity.parts.autoencoder import Autoencoder, check_autoencoder, errors
from jaxreward.agents.quality_diversity.parts.evaluation import Outcome
from jaxreward.agents.quality_diversity.parts.fitting import Fitted, Fitting, fit, start
from jaxreward.agents.quality_diversity.parts.space import Space, sampled_steps
from jaxreward.contract.sizes import Sized, size
from jaxreward.environment import world
from jaxreward.learning.lazy import when
from jaxreward.names import check_name

NETWORK, FITTING = Autoencoder(), Fitting()
"""As in the authors' code of STAX."""

Encoder = Literal["trained", "reset", "untrained", "redrawn"]


@dataclass(frozen=True)
class PicturesConfig(Sized):
    """How a space of behaviours is made from pictures.

    Attributes:
        frames: Pictures of an episode.
        image_size: Rows and columns of each.
        channels: Of each convolution of the encoder; each halves the picture.
        code: How many numbers describe a picture.
        encoder: "trained", each training goes on where the last one ended; "reset", each starts from new weights;
            "untrained", the first weights stay; or "redrawn", new weights take the place of a training.
        epochs: Of a training, at most.
        images: Pictures of a step of training, and the most that are drawn at once.
    """

    frames: int = size(1)
    image_size: int = size(64)
    channels: tuple[int, ...] = size((32, 64, 32, 16))
    code: int = size(10)
    encoder: Encoder = "trained"
    epochs: int = size(101)
    images: int = size(128)


def space_of_pictures(env: Environment, config: PicturesConfig, validation: float = 0.2) -> Space:
    """The space of `learned_space` by its config; `validation` is the share of pictures held back in a training.

    Raises:
        ValueError: If an option is unknown or does not fit.
    """
    check_name("encoder", config.encoder, get_args(Encoder))
    return learned_space(
        env,
        config.frames,
        network=Autoencoder(config.image_size, config.channels, config.code),
        fitting=Fitting(config.epochs, config.images, validation=validation),
        trained=config.encoder in ("trained", "reset"),
        reset=config.encoder in ("reset", "redrawn"),
        block_size=config.images,
    )


def learned_space(
    env: Environment,
    frames: int = 1,
    *,
    network: Autoencoder = NETWORK,
    fitting: Fitting = FITTING,
    trained: bool = True,
    reset: bool = False,
    block_size: int = 128,
) -> Space:
    """A space whose coordinates are an autoencoder's codes of pictures of an episode.

    A behaviour is the codes of all its pictures, one after the other; how much it surprises is the sum of the mean
    squared errors with which they are made again. Only states are kept: pictures are drawn where they are needed. An
    outcome without a step is an empty slot of an archive; it costs nothing where a whole block of them is empty, and
    its place is 0.

    Args:
        env: An environment that draws itself: `image(state, params, size)`.
        frames: How many pictures of an episode, at the steps of `sampled_steps`.
        network: The autoencoder.
        fitting: How it is trained.
        trained: Whether it is trained at all; without it, and without `reset`, the space stays as it starts.
        reset: Whether each training starts from new weights.
        block_size: The most pictures there are at once.

    Raises:
        ValueError: If the environment can't draw itself, or a size does not fit.
    """
    if not callable(getattr(env, "image", None)):
        raise ValueError(
            f"{env.name} does not draw itself: it has no `image(state, params, size)`; the tasks qd/... have"
        )
    if frames < 1 or block_size < 1:
        raise ValueError(f"frames and block_size must be at least 1; got {frames} and {block_size}")
    check_autoencoder(network)
    learned = _Learned(env, network, fitting, trained, reset, block_size)
    learn = learned.learn if trained or reset else None
    steps = lambda num_steps: sampled_steps(num_steps, frames)  # noqa: E731
    return Space(lambda state, _: state, steps, learned.init, learned.place, learn)


@dataclass(frozen=True)
class _Learned:
    """The functions of the space; its params are `Fitted`."""

    env: Environment
    network: Autoencoder
    fitting: Fitting
    trained: bool
    reset: bool
    block_size: int

    def init(self, key: Key[Array, ""]) -> Fitted:
        size = self.network.size
        weights = self.network.lazy_init(key, jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
        return start(weights, self.fitting)

    def place(
        self, fitted: Fitted, outcome: Outcome, env_params: PyTree
    ) -> tuple[Float[Array, "n b"], Float[Array, " n"]]:
        number = len(outcome.steps)
        states, frames = _rows(outcome.record), _frames(outcome)
        exists = jnp.repeat(outcome.steps > 0, frames)
        codes, surprise = self.measure(fitted.weights, states, exists, env_params)
        return codes.reshape(number, -1), surprise.reshape(number, frames).sum(1)

    def measure(
        self, weights: PyTree, states: PyTree, exists: Bool[Array, " N"], env_params: PyTree
    ) -> tuple[Float[Array, "N code"], Float[Array, " N"]]:
        """The code of each state's picture, and its error, block by block; zeros in blocks where none exists."""
        number = exists.size
        blocks = -(-number // self.block_size)
        cut = lambda leaf: _padded(leaf, -number % blocks).reshape(blocks, -1, *leaf.shape[1:])  # noqa: E731
        states, exists = jax.tree.map(cut, (states, exists))

        def block(_: None, x: tuple[PyTree, Array]) -> tuple[None, tuple[Array, Array]]:
            states, exists = x
            nothing = jnp.zeros((exists.size, self.network.code)), jnp.zeros(exists.size)
            return None, when(exists.any(), lambda _, states: self.seen(weights, states, env_params), nothing, states)

        codes, surprise = jax.lax.scan(block, None, (states, exists))[1]
        return codes.reshape(-1, self.network.code)[:number], surprise.reshape(-1)[:number]

    def seen(self, weights: PyTree, states: PyTree, env_params: PyTree) -> tuple[Array, Array]:
        """The codes of some states' pictures, and their errors."""
        images = self.images(states, env_params)
        codes, made = cast(tuple[Array, Array], self.network.apply(weights, images))
        return codes, errors(images, made)

    def images(self, states: PyTree, env_params: PyTree) -> Float[Array, "B S S 3"]:
        """Pictures of states."""
        base, params = world(self.env, env_params)
        return jax.vmap(lambda state: base.image(state, params, self.network.size))(states)

    def learn(
        self, fitted: Fitted, key: Key[Array, ""], outcomes: Outcome, exists: Bool[Array, " n"], env_params: PyTree
    ) -> Fitted:
        key_init, key_fit = jax.random.split(key)
        fitted = self.init(key_init) if self.reset else fitted
        if not self.trained:
            return fitted
        of = lambda weights, states: self.seen(weights, states, env_params)[1]  # noqa: E731
        exists = jnp.repeat(exists, _frames(outcomes))
        return fit(fitted, key_fit, of, _rows(outcomes.record), exists, self.fitting)


def _frames(outcome: Outcome) -> int:
    return jax.tree.leaves(outcome.record)[0].shape[1]


def _rows(record: PyTree) -> PyTree:
    """One row for each picture of each episode."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), record)


def _padded(leaf: Array, rows: int) -> Array:
    return jnp.concatenate([leaf, jnp.zeros((rows, *leaf.shape[1:]), leaf.dtype)])
