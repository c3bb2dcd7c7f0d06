"""What is measured: the settings, who competes in them, and under which compiler flags."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

SEQUENTIAL = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
"""Without it purejaxrl's vmapped training never returns on two cores (jax 0.10.2); jaxreward sets it on import."""

PEERS = ("rejax", "purejaxrl")
DEVICES = "--xla_force_host_platform_device_count"
ONE_DEVICE = "ours, one device"
CHANGES = ("bijective shuffle", "one optimiser vector", "LLVM level 1")
"""What made ours fast and can be taken back one by one; see `run_ours.build`."""

PARTS = ("rollout", "advantages", "update", "update: gradients", "update: optimiser", "update: shuffling")
"""Of an iteration of ours; see `run_parts.py`."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """PPO hyperparameters under the names jaxreward gives them; the programs translate them for the peers."""

    env: str
    num_envs: int
    num_steps: int
    learning_rate: float
    hidden: tuple[int, int] = (64, 64)
    num_epochs: int = 4
    num_minibatches: int = 4
    discount: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_coefficient: float = 0.01
    value_coefficient: float = 0.5
    max_grad_norm: float = 0.5

    @property
    def batch(self) -> int:
        """Environment steps of one iteration."""
        return self.num_envs * self.num_steps


SETTINGS = {
    "a": Setting("CartPole-v1", num_envs=4, num_steps=128, learning_rate=2.5e-4),
    "b": Setting("CartPole-v1", num_envs=64, num_steps=64, learning_rate=3e-4),
    "ant": Setting(
        "brax/ant?backend=spring",
        num_envs=64,
        num_steps=64,
        learning_rate=3e-4,
        hidden=(256, 256),
        entropy_coefficient=0.0,
    ),
}
"""The width of `ant`'s networks is the one purejaxrl has written into its continuous PPO."""


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One contender: a name for the table, the program that runs it and the flags it runs under."""

    name: str
    program: str
    flags: str = ""
    extra: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def is_peer(self) -> bool:
        """Whether it runs in the peers' own environment."""
        return self.program in PEERS

    @property
    def in_curves(self) -> bool:
        """Whether it learns something, and does so under the flags that never hang: curves do not depend on them."""
        return SEQUENTIAL in self.flags and self.program != "bounds" and self.name != ONE_DEVICE


def entries(names: tuple[str, ...], seeds: int) -> list[Entry]:
    """The contenders of one race; a peer enters under both schedulers, and its better result counts."""
    spread = spread_over(seeds)
    known = {
        "ours": [Entry("ours", "ours", spread), Entry(ONE_DEVICE, "ours", SEQUENTIAL)],
        "rejax": [Entry("rejax", "rejax"), Entry("rejax seq", "rejax", SEQUENTIAL)],
        "purejaxrl": [Entry("purejaxrl", "purejaxrl"), Entry("purejaxrl seq", "purejaxrl", SEQUENTIAL)],
        "bounds": [Entry(f"bound: {kind}", "bounds", spread, {"bound": kind}) for kind in ("rollout", "matmuls")],
    }
    chosen = [entry for name in names for entry in known[name]]
    left_out = ONE_DEVICE if seeds == 1 else "purejaxrl"
    return [entry for entry in chosen if entry.name != left_out]


def spread_over(seeds: int) -> str:
    """The flags for so many seeds: as the command line has it, each core is a device, and several are spread."""
    return SEQUENTIAL if seeds == 1 else f"{SEQUENTIAL} {DEVICES}={os.cpu_count()}"


def part_by_part(seeds: int) -> list[Entry]:
    """Ours, each part of an iteration of it, and the bounds."""
    spread = spread_over(seeds)
    parts = [Entry(part, "parts", spread, {"part": part}) for part in PARTS]
    return [Entry("ours", "ours", spread), *parts, *entries(("bounds",), seeds)]


def without_changes(seeds: int) -> list[Entry]:
    """Ours, and ours without each of the changes that made it fast."""
    spread = spread_over(seeds)
    taken_back = [Entry(f"without {change}", "ours", spread, {"without": change}) for change in CHANGES]
    return [Entry("ours", "ours", spread), *taken_back]


def program_of(name: str) -> Path:
    """The file that a contender's process loads: of ours, or of a peer's, which imports nothing of ours."""
    folder = Path(__file__).parents[1]
    ours = folder / "ours" / f"run_{name}.py"
    return ours if ours.exists() else folder / "peers" / f"run_{name}.py"


def spec(
    entry: Entry, setting: Setting, *, seeds: int, steps: int, curves: bool, purejaxrl: Path | None
) -> dict[str, Any]:
    """What a contender is told: everything `contender.py` and the program it loads need, as JSON.

    Args:
        entry: Who runs.
        setting: At which hyperparameters.
        seeds: How many seeds are trained at once.
        steps: Environment steps of each seed, rounded down to whole iterations.
        curves: Whether training returns are wanted from a peer that does not record them by itself.
        purejaxrl: Checkout of purejaxrl.

    Raises:
        ValueError: If `steps` is less than one iteration.
    """
    iterations = steps // setting.batch
    if iterations < 1:
        raise ValueError(f"{steps} steps are less than one iteration of {setting.num_envs} x {setting.num_steps} steps")
    return {
        "program": str(program_of(entry.program)),
        "setting": dataclasses.asdict(setting),
        "seeds": seeds,
        "iterations": iterations,
        "env_steps": iterations * setting.batch * seeds,
        "curves": curves,
        "purejaxrl": str(purejaxrl),
        **entry.extra,
    }
