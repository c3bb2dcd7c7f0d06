"""The sections of a page about runs: what they were, their curves, and a table of all their configurations.

The programs of a sweep, and the runs of a search, are shown as if they were one run of many configurations.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.report.compared import configurations_compared
from jaxreward.report.page import code, details, drawing, facts, heading, note, table
from jaxreward.results.charts import sensitivity
from jaxreward.results.curves import learning_curves, to_svg
from jaxreward.results.described import title_of
from jaxreward.results.summary import cells, configurations, declared_metrics, headline_metrics, name_of, show, summary
from jaxreward.run.job import NAMED
from jaxreward.run.record import COLUMNS
from jaxreward.run.store import RunError, RunFolder, read_json

LARGEST_TABLE = 100
BEST_DRAWN = 8
SWEEP, STUDY = "sweep.json", "study.json"
"""What marks a folder whose runs belong together."""
EPISODE, LARGEST_EPISODE, MOST_EPISODES = "episode.gif", 8 * 2**20, 4
"""The animation in a run's folder, up to how many bytes of one are put into a page, and of how many runs together."""
CONFIRMED = "confirmed"
"""The folder of a search's runs on fresh seeds, which are not to be mixed with what the choice was made by."""


class NotYetError(RunError):
    """Nothing has been logged yet."""


class Runs(NamedTuple):
    """A run folder, or all of a sweep or a search.

    Attributes:
        name: The folder's.
        described: Each run's `config.json`.
        frame: Their metrics; `member` counts configurations over all of them.
        by: The columns that tell configurations apart.
        reward: The user's file of the reward, if there is one.
        steps: Environment steps below which a configuration was stopped early; 0 where none is.
        folders: Where the runs are.
        place: The folder that they are told apart within.
    """

    name: str
    described: list[dict[str, Any]]
    frame: pd.DataFrame
    by: list[str]
    reward: str | None
    steps: int = 0
    folders: Sequence[Path] = ()
    place: Path = Path()


def read(folder: Path, runs: Sequence[Path]) -> Runs:
    """Reads the runs of a folder, which may be the only one of them itself.

    Raises:
        NotYetError: Nothing has been logged yet.
        RunError: There is no run.
    """
    described = [RunFolder(run).read_config() for run in runs]
    frames = [RunFolder(run).metrics() for run in runs]
    if all(frame.empty for frame in frames):
        raise NotYetError(f"{folder.absolute()} has no metrics yet")
    source = runs[0] / "reward.py"
    reward = source.read_text() if source.is_file() else None
    if list(runs) == [folder]:
        return Runs(folder.absolute().name, described, frames[0], configurations(described[0]), reward, folders=runs)
    frame, by = _merged(described, frames)
    study = folder / STUDY
    steps = read_json(study, {"search": dict})["search"].get("steps", 0) if study.is_file() else 0
    place = folder.absolute()
    name = f"{place.parent.name}, on fresh seeds" if _is_confirmed(place) else place.name
    return Runs(name, described, frame, by, reward, steps, runs, folder)


def group(runs: Iterable[Path], place: Path) -> dict[Path, list[Path]]:
    """Runs by the sweep, the search or its confirmation that they belong to; others by themselves."""
    groups: dict[Path, list[Path]] = {}
    for run in runs:
        above = [folder for folder in (run, *run.parents) if folder.is_relative_to(place)]
        whole = [folder for folder in above if (folder / SWEEP).is_file() or (folder / STUDY).is_file()]
        confirmed = [folder for folder in above if _is_confirmed(folder)]
        groups.setdefault((confirmed or whole or [run])[-1], []).append(run)
    return groups


def _is_confirmed(folder: Path) -> bool:
    return folder.name == CONFIRMED and (folder.parent / STUDY).is_file()


def section(runs: Runs, title: str = "") -> str:
    """Everything about one of them."""
    metrics = headlines(runs)
    drawn = [name for name in map(str, runs.frame) if _is_curve(name) and runs.frame[name].notna().any()]
    others = [name for name in drawn if name not in metrics]
    curves = "\n".join(drawing(to_svg(curves_of(runs, name))) for name in others)
    described = runs.described[0] if len(runs.described) == 1 else runs.described
    return "\n".join(
        [
            heading(title) if title else "",
            _facts(runs),
            _failures(runs),
            *(_result(runs, metric) for metric in metrics),
            _compared(runs, metrics[0]) if metrics else "",
            _sensitivities(runs, metrics[0]) if metrics else "",
            _episodes(runs, metrics),
            details("More curves", curves) if others else "",
            details("The reward's file", code(runs.reward)) if runs.reward else "",
            details("Configuration and versions", code(json.dumps(described, indent=2))),
        ]
    )


def _episodes(runs: Runs, metrics: Sequence[str]) -> str:
    """What `jaxreward evaluate --render` drew of them all or of some, where that is a picture; of the best first."""
    whole = [runs.place] if runs.place != Path() else []
    drawn = [place for place in (*whole, *_by_rank(runs, metrics)) if (place / EPISODE).is_file()]
    small = [place for place in drawn if (place / EPISODE).stat().st_size <= LARGEST_EPISODE][:MOST_EPISODES]
    several = [place for place in small if place not in whole and len(runs.folders) > 1]
    named = [f"An episode of {place.relative_to(runs.place)}" if place in several else "An episode" for place in small]
    return "\n".join(map(_episode, small, named))


def _by_rank(runs: Runs, metrics: Sequence[str]) -> list[Path]:
    """The run folders, that with the best configuration first, and of one configuration that of further training."""
    if len(runs.folders) < 2 or not metrics:
        return list(runs.folders)
    ranks = {member: rank for rank, member in enumerate(_ranked(runs, metrics[0])["member"])}
    best = runs.frame["member"].map(ranks).groupby(runs.frame["run"]).min()
    order = sorted(range(len(runs.folders)), key=lambda run: (best.get(run, len(ranks)), -run))
    return [runs.folders[run] for run in order]


def _episode(run: Path, title: str) -> str:
    pixels = base64.b64encode((run / EPISODE).read_bytes()).decode()
    return heading(title, level=3) + drawing(f'<img alt="an episode" src="data:image/gif;base64,{pixels}">')


def comparison(every: Sequence[Runs]) -> str:
    """The best configuration of each, in the metric that all of them have."""
    declared = declared_metrics(described for runs in every for described in runs.described)
    shown = (*declared, "episode/env_return", "episode/return")
    metric = next((m for m in shown if all(m in run.frame for run in every)), None)
    if metric is None:
        return ""
    names = [_unique_name(every, index) for index in range(len(every))]
    best = [_ranked(runs, metric).iloc[0] for runs in every]
    frames = [
        runs.frame[runs.frame["member"] == row["member"]].assign(run=name)
        for runs, row, name in zip(every, best, names, strict=True)
    ]
    rows = [
        [name, _described(row, runs.by) or "-", *cells(row)] for runs, row, name in zip(every, best, names, strict=True)
    ]
    columns = ["run", "best configuration", "interquartile mean", "mean", "seeds"]
    return "\n".join(
        [
            heading("Comparison"),
            heading(f"{_capitalised(name_of(metric))} of each run's best configuration", level=3),
            drawing(to_svg(learning_curves(pd.concat(frames, ignore_index=True), metric, ["run"]))),
            table(columns, rows, {"run", "best configuration"}),
        ]
    )


def headlines(runs: Runs) -> list[str]:
    """The metrics that these runs are judged by, the first before all."""
    return headline_metrics(runs.frame, declared_metrics(runs.described))


def curves_of(runs: Runs, metric: str) -> Figure:
    """Learning curves: of a grid all of them, of configurations here and there the best ones."""
    *outer, inner = runs.by or ["member"]
    panels, lines = runs.frame.groupby(outer).ngroups if outer else 1, runs.frame[inner].nunique()
    if 2 * runs.frame["member"].nunique() > panels * lines:
        return learning_curves(runs.frame, metric, runs.by, title_of(runs.described))
    separate = [name for name in runs.by if name == "env"]
    named = [name for name in runs.by if name not in separate]
    ranked = _ranked(runs, metric)
    best = ranked.groupby(separate).head(BEST_DRAWN) if separate else ranked.head(BEST_DRAWN)
    ranks = best.groupby(separate).cumcount() if separate else pd.Series(range(len(best)))
    rows = zip(ranks, best.to_dict("records"), strict=True)
    labels = {row["member"]: f"{rank + 1}. {_described(row, named)}" for rank, row in rows}
    frame = runs.frame[runs.frame["member"].isin(list(labels))]
    label = f"the best {BEST_DRAWN}"
    named_lines = frame.assign(**{label: frame["member"].map(labels)})
    return learning_curves(named_lines, metric, [*separate, label], title_of(runs.described))


def _ranked(runs: Runs, metric: str) -> pd.DataFrame:
    """The final values of each configuration, best first; those that were stopped early come after all others.

    Besides the columns of `jaxreward.results.summary.summary` it has `steps`, how far each was trained, and `stopped`.
    """
    steps = runs.frame.groupby("member")["env_steps"].max()
    # A run that went on in another folder is still one run.
    table = summary(runs.frame.drop(columns="run", errors="ignore"), runs.by, metric)
    table["steps"] = table["member"].map(steps)
    table["stopped"] = table["steps"] < runs.steps
    order = table["steps"].clip(upper=runs.steps).sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _merged(described: Sequence[dict[str, Any]], frames: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, list[str]]:
    """One table whose members are the different configurations of all runs, and the columns they differ in.

    Further seeds of a configuration, or its further training, may be in another run.
    """
    choices = [[_choice(each, member) for member in each["population"]] for each in described]
    unique = {_key(choice): choice for choice in itertools.chain(*choices)}
    numbers = {key: number for number, key in enumerate(unique)}
    names = dict.fromkeys(name for choice in unique.values() for name in choice)
    columns = {name: _one_type([choice.get(name, "default") for choice in unique.values()]) for name in names}
    by = [name for name, values in columns.items() if any(value != values[0] for value in values)]
    numbered = []
    for run, (each, frame) in enumerate(zip(choices, frames, strict=True)):
        member = frame["member"].map([numbers[_key(choice)] for choice in each].__getitem__)
        chosen = {name: member.map(columns[name].__getitem__) for name in by}
        numbered.append(frame.assign(run=run, member=member, **chosen))
    merged = pd.concat(numbered, ignore_index=True).drop_duplicates(["member", "seed", "env_steps"], keep="last")
    return merged, by


def _choice(described: dict[str, Any], member: dict[str, Any]) -> dict[str, Any]:
    """All that was chosen for a member, by name."""
    config = described["config"]
    chosen = {**config.get("agent_config", {}), **config["settings"], **member}
    return {name: config[name] for name in NAMED} | {name: _cell(value) for name, value in chosen.items()}


def _cell(stored: Any) -> Any:
    """A setting as JSON has kept it, as a cell of a table: numbers, infinite ones too, or text."""
    if isinstance(stored, list):
        return str(stored)
    return float(stored) if stored in ("inf", "-inf") else stored


def _key(choice: dict[str, Any]) -> str:
    return repr(sorted(choice.items()))


def _one_type(values: list[Any]) -> list[Any]:
    """Values that can be sorted: all as text where one is."""
    return list(map(show, values)) if any(isinstance(value, str) for value in values) else values


def _facts(runs: Runs) -> str:
    described, frame = runs.described, runs.frame
    configs, last = [each["config"] for each in described], _last_rows(frame)
    members, pairs = frame["member"].nunique(), len(last)
    seeds = pairs / members
    times = [each["wall_seconds"].iloc[-1] for _, each in frame.groupby("run")] if len(described) > 1 else None
    seconds = sum(times) if times else frame["wall_seconds"].iloc[-1]
    rate = last["env_steps"].sum() / max(seconds, 1e-9)
    device, versions = described[0].get("device", {}), described[0].get("versions", {})
    done, asked = int(last["iteration"].min()), [each["iterations"] for each in described]
    entries = {
        **{n: ", ".join(dict.fromkeys(str(c[n]) for c in configs if n in c)) for n in NAMED if n in configs[0]},
        "runs": f"{pairs:,} = {members} configuration{'s' * (members > 1)} × {seeds:.4g} seed{'s' * (seeds > 1)}",
        "programs": str(len(described)) if len(described) > 1 else "",
        "environment steps": f"{_span(last['env_steps'])} each",
        "iterations": f"{done:,} of {asked[0]:,}" if len(described) == 1 else _span(last["iteration"]),
        "time": f"{seconds:.1f} s, {rate:,.0f} environment steps/s, without compilation",
        "device": f"{device.get('count', '?')} × {device.get('kind', '?')}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return facts({name: value for name, value in entries.items() if value})


def _last_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The newest row of each member and seed."""
    return frame.sort_values("iteration", kind="stable").groupby(["member", "seed"], sort=True).tail(1).sort_index()


def _span(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _failures(runs: Runs) -> str:
    last = _last_rows(runs.frame)
    failed = last[last["failed"]]
    if failed.empty:
        return ""
    first = runs.frame[runs.frame["failed"]].groupby(["member", "seed"])["iteration"].min()
    rows = [
        f"member {row['member']}"
        + (f", {_described(row, runs.by)}" if runs.by else "")
        + f", seed {row['seed']}: from iteration {first[row['member'], row['seed']]}"
        for _, row in failed.head(LARGEST_TABLE).iterrows()
    ]
    more = f"<br>and {len(failed) - len(rows)} more" if len(failed) > len(rows) else ""
    listing = "<br>".join(map(html.escape, rows)) + more
    return f'<div class="failed"><b>{len(failed)} of {len(last)} runs were not finite:</b><br>{listing}</div>'


def _result(runs: Runs, metric: str) -> str:
    ranked = _ranked(runs, metric)
    if "env" in runs.by:  # scores of different environments are no measure of one another
        ranked = ranked.sort_values("env", kind="stable")
    stopped = ["steps"] if ranked["stopped"].any() else []
    order = "best first, but the less trained last" if stopped else "best first"
    columns = [*runs.by, *stopped, "interquartile mean", "mean", "seeds"]
    rows = [
        [*(show(row[name]) for name in runs.by), *(f"{row[name]:,}" for name in stopped), *cells(row)]
        for _, row in ranked.head(LARGEST_TABLE).iterrows()
    ]
    more = f"; the {LARGEST_TABLE} best of {len(ranked)} configurations" if len(ranked) > LARGEST_TABLE else ""
    return "\n".join(
        [
            heading(_capitalised(name_of(metric)), level=3),
            drawing(to_svg(curves_of(runs, metric))),
            note(
                "Line: mean over seeds, band: its 95% interval. Table: the mean over the last tenth of training, with "
                f"95% intervals over seeds; {order}{more}."
            ),
            table(columns, rows, {n for n in runs.by if not pd.api.types.is_numeric_dtype(ranked[n])}),
        ]
    )


def _compared(runs: Runs, metric: str) -> str:
    """The best configurations against the others, where scores are of one environment and trained to the end."""
    if "env" in runs.by:
        return ""
    ranked = _ranked(runs, metric)
    best = ranked[~ranked["stopped"]].head(BEST_DRAWN)
    labels = {int(row["member"]): _described(row, runs.by) for _, row in best.iterrows()}
    return configurations_compared(runs.frame.drop(columns="run", errors="ignore"), labels, metric, name_of(metric))


def _sensitivities(runs: Runs, metric: str) -> str:
    """The score against each number that was varied, where that is an average over the others."""
    numeric = [name for name in runs.by if pd.api.types.is_numeric_dtype(runs.frame[name])]
    several = [name for name in numeric if 3 <= runs.frame[name].nunique() < runs.frame["member"].nunique()]
    if not several or "env" in runs.by:
        return ""
    drawn = "\n".join(drawing(to_svg(sensitivity(runs.frame, name, metric))) for name in several)
    return details("Sensitivity to each hyperparameter, over all values of the others", drawn)


def _described(row: Mapping[Any, Any] | pd.Series, names: Sequence[str]) -> str:
    return ", ".join(f"{name} = {show(row[name])}" for name in names)


def _unique_name(every: Sequence[Runs], index: int) -> str:
    same = [i for i, runs in enumerate(every) if runs.name == every[index].name]
    return every[index].name if len(same) == 1 else f"{every[index].name} ({same.index(index) + 1})"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _is_curve(name: str) -> bool:
    return name not in COLUMNS and name.startswith("episode/") and name != "episode/count"
