"""`jaxreward evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from jaxreward.cli.shell import Number, Text


@dataclass(frozen=True)
class Evaluate:
    """Run episodes with the newest checkpoint of a run, or the best, and draw one of them if asked.

    Where the environment never ends, an episode is so many steps, and what is told is the reward a step.

    Attributes:
        folder: The run folder.
        member: Which configuration, by its number; the best one by default.
        seed: Which seed; the first by default.
        best: Take the checkpoint of the best evaluation, of a run with --evaluate-every, and not the newest.
        episodes: How many episodes.
        steps: After how many steps an episode is cut that has not ended.
        stochastic: Sample actions as in training, instead of taking the most likely ones.
        render: Draw one episode to the run folder: a GIF, which TensorBoard shows too, or a page with brax's viewer.
        wandb: With --render, the Weights & Biases project that the run was logged to, to add the GIF there.
        key: The seed of the episodes.
        trust: Run the code in a run folder that was not begun here by you.
        traceback: Show where an error came from.
    """

    folder: tyro.conf.Positional[Path]
    member: Number = None
    seed: Number = None
    best: bool = False
    episodes: int = 100
    steps: int = 10_000
    stochastic: bool = False
    render: bool = False
    wandb: Text = None
    key: int = 0
    trust: bool = False
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.results.evaluate import describe, evaluate
        from jaxreward.results.tracking import track_episode
        from jaxreward.run.loggers import import_wandb

        if self.wandb:
            import_wandb()  # before anything is computed
        if self.wandb and not self.render:
            raise ValueError("--wandb adds a drawn episode to the run's page: give --render too")
        evaluation = evaluate(
            self.folder,
            member=self.member,
            seed=self.seed,
            best=self.best,
            episodes=self.episodes,
            steps=self.steps,
            stochastic=self.stochastic,
            render=self.render,
            key=self.key,
        )
        print(describe(evaluation))
        if evaluation.picture:
            track_episode(evaluation.folder, evaluation.picture, self.wandb)
            if self.wandb and evaluation.picture.suffix != ".gif":
                print(f"{evaluation.picture.name} is no GIF, so nothing was added to Weights & Biases")
            print(f"one episode is drawn in {evaluation.picture}")
        return 0
