"""What came out of a run, and its episodes, for TensorBoard and Weights & Biases, whose curves are logged in training.

TensorBoard's are in the run's folder: hyperparameters with final values (its HParams view), the table of all
configurations (Text) and pictures of episodes (Images).
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from tensorboardX import SummaryWriter
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams

from jaxreward.results.described import entries, settings_of
from jaxreward.results.summary import configurations, declared_metrics, headline_metrics, name_of, show, summary
from jaxreward.run.loggers import LARGEST_CURVES, Curves, import_wandb
from jaxreward.run.store import RunFolder

FINAL = "final"
"""What final values are called, before the metric's name."""


def track_results(folder: Path, wandb: str | None = None) -> None:
    """Adds final values to what a finished run has logged.

    Args:
        folder: The run folder.
        wandb: A Weights & Biases project, the one that the run was logged to.
    """
    run = RunFolder(folder)
    described, metrics = run.read_config(), run.metrics()
    if metrics.empty:
        return
    tables = {name: summary(metrics, configurations(described), name) for name in _headlines(metrics, described)}
    step = int(metrics["env_steps"].max())
    _write_hparams(run, described, tables, step)
    with _board(run, "mean", "tables") as board:
        for name, table in tables.items():
            board.add_text(f"{FINAL}/{name}", f"{name_of(name)}\n\n{_markdown(table)}", step)
    if wandb:
        module = import_wandb()
        columns = {f"{FINAL}/{name}": module.Table(dataframe=table) for name, table in tables.items()}
        _log_to_wandb(module, wandb, run, described, columns)


def track_episode(folder: Path, picture: Path, wandb: str | None = None) -> None:
    """Adds an episode's animation to what a run has logged.

    Args:
        folder: The run folder.
        picture: The file, a GIF; others are left out, which neither shows.
        wandb: A Weights & Biases project.
    """
    if picture.suffix != ".gif":
        return
    run, content = RunFolder(folder), picture.read_bytes()
    described, metrics = run.read_config(), run.metrics()
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    shown = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=content)
    step = 0 if metrics.empty else int(metrics["env_steps"].max())
    with _board(run, "mean", "episode") as board:
        board.file_writer.add_summary(Summary(value=[Summary.Value(tag=picture.stem, image=shown)]), step)
    if wandb:
        module = import_wandb()
        video = {picture.stem: module.Video(str(picture), format="gif")}
        _log_to_wandb(module, wandb, run, described, video)


def _board(run: RunFolder, curve: str, what: str) -> SummaryWriter:
    """Where something is written beside a curve; files are named by the second, so what is in them is added."""
    return SummaryWriter(str(run.tensorboard / curve), filename_suffix=f".{what}")


def _headlines(metrics: pd.DataFrame, described: dict[str, Any]) -> list[str]:
    return headline_metrics(metrics, declared_metrics([described]))


def _write_hparams(run: RunFolder, described: dict[str, Any], tables: dict[str, pd.DataFrame], step: int) -> None:
    """A session for each configuration, beside its curves: settings, and interquartile means over its seeds."""
    population, settings = described["population"], settings_of(described)
    named = {name: value for name, value in entries(described).items() if name in ("agent", "env", "reward")}
    names = Curves(population, described["seeds"]).names if len(population) > 1 else ["mean"]
    for member in range(min(len(population), LARGEST_CURVES)):
        rows = {name: table.loc[table["member"] == member, "iqm"] for name, table in tables.items()}
        values = {f"{FINAL}/{name}": float(row.iloc[0]) for name, row in rows.items() if len(row)}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        parts = hparams({name: _plain(value) for name, value in {**named, **settings[member]}.items()}, finite)
        with _board(run, names[member], "settings") as board:
            for part in parts:
                board.file_writer.add_summary(part)
            for name, value in finite.items():
                board.add_scalar(name, value, step)


def _plain(value: Any) -> Any:
    """A setting as the view takes it: infinity is text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _log_to_wandb(module: Any, project: str, run: RunFolder, described: dict[str, Any], values: dict[str, Any]) -> None:
    """Adds to the Weights & Biases run that training logged to."""
    session = module.init(
        project=project, name=run.path.name, id=described["id"], resume="allow", dir=str(run.path), config=described
    )
    session.log(values)
    session.finish()


def _markdown(table: pd.DataFrame) -> str:
    rows = [list(map(str, table.columns)), ["---"] * table.shape[1]]
    rows += [[show(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
