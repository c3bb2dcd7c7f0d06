"""Run folders as one HTML page that needs nothing else: curves, tables, configurations and versions."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.figures import learning_curves, save_png, to_svg
from jaxreward.record import COLUMNS
from jaxreward.results import load
from jaxreward.store import RunError, RunFolder, write_atomically
from jaxreward.summary import NAMES, cells, configurations, headline_metrics, show, summary

LARGEST_TABLE = 100
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; margin: .5rem 0; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid #eee; }
th { vertical-align: bottom; font-weight: 600; } th.column { border-bottom: 1px solid #888; }
td.fact { text-align: left; }
.scroll { overflow-x: auto; } svg { max-width: 100%; height: auto; }
.failed { background: #fdecea; border-left: 4px solid #b3261e; padding: .4rem .8rem; }
.note { color: #666; font-size: .9rem; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .8rem; }
"""


class _Run(NamedTuple):
    name: str
    described: dict[str, Any]
    frame: pd.DataFrame
    reward: str | None

    @property
    def by(self) -> list[str]:
        return configurations(self.described)


def report(
    folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] | None = None
) -> Path:
    """Writes a self-contained HTML page about runs.

    Args:
        folders: One run folder or several, which are then compared.
        out: The page; `report.html` in the run folder by default, in the current folder for several runs.

    Returns:
        Its path.

    Raises:
        RunError: A folder holds no run, nothing has been logged yet, or the page can't be written.
    """
    listed = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    runs = [_read(folder) for folder in listed]
    path = Path(out) if out else (Path(listed[0]) if len(runs) == 1 else Path()) / "report.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _page(runs).encode())
    except OSError as error:
        raise RunError(f"can't write the report {path}: {error.strerror or error}") from error
    return path


def save_curves(folder: str | os.PathLike[str]) -> Path:
    """Draws a run's learning curves to `curves.png` in its folder, in the first of its headline metrics."""
    run = _read(folder)
    return save_png(_curves(run, headline_metrics(run.frame)[0]), Path(folder) / "curves.png")


def _read(folder: str | os.PathLike[str]) -> _Run:
    run = RunFolder(folder)
    described, frame = run.read_config(), load(folder)
    if frame.empty:
        raise RunError(f"{run.path} has no metrics yet")
    source = run.path / "reward.py"
    return _Run(run.path.name, described, frame, source.read_text() if source.is_file() else None)


def _page(runs: list[_Run]) -> str:
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    parts = [_comparison(runs)] if len(runs) > 1 else []
    sections = (f"{_heading(run, runs)}\n{_section(run)}" for run in runs)
    body = "\n".join([f"<h1>{html.escape(title)}</h1>", *parts, *sections])
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        f"{body}\n</body>\n</html>\n"
    )


def _heading(run: _Run, runs: list[_Run]) -> str:
    return f"<h2>{html.escape(run.name)}</h2>" if len(runs) > 1 else ""


def _section(run: _Run) -> str:
    metrics = headline_metrics(run.frame)
    others = [name for name in map(str, run.frame) if _is_curve(name) and name not in metrics]
    return "\n".join(
        [
            _facts(run),
            _failures(run),
            *(_result(run, metric) for metric in metrics),
            _details("More curves", "\n".join(to_svg(_curves(run, name)) for name in others)) if others else "",
            _details("The reward's file", f"<pre>{html.escape(run.reward)}</pre>") if run.reward else "",
            _details("Configuration and versions", f"<pre>{html.escape(json.dumps(run.described, indent=2))}</pre>"),
        ]
    )


def _facts(run: _Run) -> str:
    described, config, last = run.described, run.described["config"], run.frame.iloc[-1]
    versions = described.get("versions", {})
    members, seeds = len(described["population"]), len(described["seeds"])
    device = described.get("device", {})
    facts = {
        **{name: config[name] for name in ("agent", "env", "reward") if name in config},
        "runs": f"{members * seeds:,} = {members} configuration{'s' * (members > 1)} × {seeds} seed{'s' * (seeds > 1)}",
        "environment steps": f"{int(last['env_steps']):,} each",
        "iterations": f"{last['iteration']:,} of {described['iterations']:,}",
        "time": f"{last['wall_seconds']:.1f} s, {_rate(run.frame)} environment steps/s, without compilation",
        "device": f"{device.get('count', '?')} × {device.get('kind', '?')}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    rows = (f'<tr><th>{html.escape(k)}</th><td class="fact">{html.escape(str(v))}</td></tr>' for k, v in facts.items())
    return f"<table>{''.join(rows)}</table>"


def _rate(frame: pd.DataFrame) -> str:
    last = frame[frame["iteration"] == frame["iteration"].max()]
    return f"{last['env_steps'].sum() / max(last['wall_seconds'].iloc[0], 1e-9):,.0f}"


def _failures(run: _Run) -> str:
    last = run.frame[run.frame["iteration"] == run.frame["iteration"].max()]
    failed = last[last["failed"]]
    if failed.empty:
        return ""
    first = run.frame[run.frame["failed"]].groupby(["member", "seed"])["iteration"].min()
    rows = [
        f"member {row['member']}"
        + "".join(f", {name} = {show(row[name])}" for name in run.by)
        + f", seed {row['seed']}: from iteration {first[row['member'], row['seed']]}"
        for _, row in failed.head(LARGEST_TABLE).iterrows()
    ]
    more = f"<br>and {len(failed) - len(rows)} more" if len(failed) > len(rows) else ""
    listing = "<br>".join(map(html.escape, rows)) + more
    return f'<div class="failed"><b>{len(failed)} of {len(last)} runs were not finite:</b><br>{listing}</div>'


def _result(run: _Run, metric: str) -> str:
    table = summary(run.frame, run.by, metric)
    columns = [*run.by, "interquartile mean", "mean", "seeds"]
    rows = [[*(show(row[name]) for name in run.by), *cells(row)] for _, row in table.head(LARGEST_TABLE).iterrows()]
    more = f"; the {LARGEST_TABLE} best of {len(table)} configurations" if len(table) > LARGEST_TABLE else ""
    note = f"Mean over the last tenth of training, with 95% bootstrap intervals over seeds; best first{more}."
    return (
        f"<h3>{html.escape(_capitalised(NAMES.get(metric, metric)))}</h3>\n{to_svg(_curves(run, metric))}\n"
        f'<p class="note">{note}</p>\n<div class="scroll">{_table(columns, rows)}</div>'
    )


def _curves(run: _Run, metric: str) -> Figure:
    return learning_curves(run.frame, metric, run.by)


def _comparison(runs: list[_Run]) -> str:
    """The best configuration of each run, in the metric that all of them have."""
    metric = next((m for m in ("episode/env_return", "episode/return") if all(m in run.frame for run in runs)), None)
    if metric is None:
        return ""
    best = [summary(run.frame, run.by, metric).iloc[0] for run in runs]
    names = [_unique_name(runs, index) for index in range(len(runs))]
    parts = [
        run.frame[run.frame["member"] == row["member"]].assign(run=name)
        for run, row, name in zip(runs, best, names, strict=True)
    ]
    figure = learning_curves(pd.concat(parts, ignore_index=True), metric, ["run"])
    rows = [
        [name, ", ".join(f"{key} = {show(row[key])}" for key in run.by) or "-", *cells(row)]
        for run, row, name in zip(runs, best, names, strict=True)
    ]
    columns = ["run", "best configuration", "interquartile mean", "mean", "seeds"]
    return (
        f"<h2>Comparison</h2>\n<h3>{html.escape(_capitalised(NAMES[metric]))} of each run's best configuration</h3>\n"
        f'{to_svg(figure)}\n<div class="scroll">{_table(columns, rows)}</div>'
    )


def _unique_name(runs: list[_Run], index: int) -> str:
    same = [i for i, run in enumerate(runs) if run.name == runs[index].name]
    return runs[index].name if len(same) == 1 else f"{runs[index].name} ({same.index(index) + 1})"


def _table(columns: list[str], rows: list[list[str]]) -> str:
    head = "".join(f'<th class="column">{html.escape(name)}</th>' for name in columns)
    lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _details(summary_text: str, content: str) -> str:
    return f"<details><summary>{html.escape(summary_text)}</summary>\n{content}\n</details>"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _is_curve(name: str) -> bool:
    return name not in COLUMNS and name.startswith("episode/") and name != "episode/count"
