"""`jaxreward reproduce`."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jaxreward.cli.shell import RUN_FAILED, Text, console, note, say

if TYPE_CHECKING:
    from jaxreward.reproduce.figure import Reproduced
    from jaxreward.reproduce.plan import Planned
    from jaxreward.reproduce.work import Work
    from jaxreward.run.launcher import Launcher

STYLES = {"met": "green", "not met": "red", "not decidable": "yellow"}
SIZE = "steps x seeds x configurations"


@dataclass(frozen=True)
class Reproduce:
    """Make figures of papers again, and check what the papers claim of them.

    Attributes:
        names: The figures (--list), or your own as path/to/file.py:figure.
        scale: How much to run: seconds, minutes, about an hour on two cores, or what the paper ran.
        folder: Where; each figure goes to NAME-SCALE in it. What was trained there is not trained again.
        only: Parts of the figure, mostly methods: these now, the others later into the same folder. --plan shows all.
        plan: Show how much there is to run and how long it takes, measured with a little of it; run nothing else.
        launcher: What trains: this process (local), or as many machines as there are (ray).
        address: Of the Ray cluster.
        all: All figures, also after one has failed.
        list: Show the figures there are.
        strict: Let the exit code be 1 also when a claim is not met.
        quiet: Show no progress.
        trust: Run the code in a run folder that was not begun here by you.
        traceback: Show where an error came from.
    """

    names: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="NAME")] = ()
    scale: Literal["smoke", "small", "hour", "paper"] = "small"
    folder: Path = Path("figures")
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD")] = ()
    plan: bool = False
    launcher: str = "local"
    address: Text = None
    all: bool = False
    list: bool = False
    strict: bool = False
    quiet: bool = False
    trust: bool = False
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.reproduce.claims import tally
        from jaxreward.run.launchers import get_launcher

        if self.list:
            print(_listing())
            return 0
        names = self._names()
        for name in names:  # a misspelt one is refused before the first is run
            self._check(name)
        if self.plan:
            for name in names:
                _show_plan(name, self._planned(name))
            return 0
        launch = get_launcher(self.launcher, address=self.address, progress=not self.quiet)
        made = [self._make(name, launch) for name in names]
        done = [each for each in made if each is not None]
        claims = [claim for each in done for claim in each.claims]
        print(f"{len(done)} of {len(names)} figures, {len(claims)} claims: {tally(claims)}")
        if len(done) < len(names):
            return say(f"failed: {len(names) - len(done)} of {len(names)} figures", RUN_FAILED)
        return RUN_FAILED if self.strict and any(claim.verdict == "not met" for claim in claims) else 0

    def _names(self) -> Sequence[str]:
        from jaxreward.reproduce.figure import full_name, list_figures

        if self.all and self.names:
            raise ValueError(f"either --all or names, not both: {', '.join(self.names)}")
        if not self.all and not self.names:
            raise ValueError(f"which figure? There are: {', '.join(list_figures())}; --all makes each")
        if self.all:
            return list_figures()
        for former in (name for name in self.names if full_name(name) != name):
            note(f"{former} is {full_name(former)}")
        return [full_name(name) for name in self.names]

    def _check(self, name: str) -> None:
        """Refuses figures and parts that there are not."""
        from jaxreward.reproduce.figure import chosen, get_figure
        from jaxreward.reproduce.parts import parts_of

        figure = get_figure(name)
        if self.only:
            chosen(name, parts_of(figure.data(self.scale)), self.only)

    def _planned(self, name: str) -> Iterator[Planned]:
        """What is to be run of a figure, measured."""
        from jaxreward.reproduce.figure import chosen, default_folder, get_figure
        from jaxreward.reproduce.parts import parts_of
        from jaxreward.reproduce.plan import plan

        parts = parts_of(get_figure(name).data(self.scale))
        return plan(parts, chosen(name, parts, self.only), default_folder(name, self.scale, self.folder))

    def _estimate(self, name: str) -> None:
        """Says how long a figure takes, where that is more than seconds and trained here; it is made all the same."""
        from jaxreward.reproduce.plan import estimate

        if not self.quiet and self.scale != "smoke" and self.launcher == "local":
            note(f"measuring how long it takes ({SIZE}) ...")
            planned = []
            try:
                for each in self._planned(name):
                    planned.append(each)
                    note(f"  {each.part}, {_briefly(each)}")
            except Exception as error:  # whatever stands in its way stands in the figure's too, or does not matter
                note(f"it could not be measured: {type(error).__name__}: {error}")
                return
            note(estimate(planned) if planned else "nothing is left to be trained")

    def _make(self, name: str, launch: Launcher) -> Reproduced | None:
        """One figure; what goes wrong is said, and the others are made all the same."""
        from jaxreward.reproduce.figure import default_folder, reproduce

        folder = default_folder(name, self.scale, self.folder)
        note(f"{name} at scale {self.scale} -> {folder}")
        try:
            self._estimate(name)
            made = reproduce(name, self.scale, folder, launch, self.only)
        except KeyboardInterrupt as stopped:
            arguments = ["--all"] if self.all else list(self.names)
            options = ["--scale", self.scale, "--folder", str(self.folder), "--launcher", self.launcher]
            options += ["--only", *self.only] if self.only else []
            again = ["jaxreward", "reproduce", *arguments, *options]
            raise KeyboardInterrupt(f"go on with\n  {shlex.join(again)}") from stopped
        except Exception as error:
            if self.traceback:
                traceback.print_exc()
            note(f"{name} failed: {type(error).__name__}: {error}")
            return None
        _show(made)
        return made


def _listing() -> str:
    from jaxreward.reproduce.figure import get_figure, list_figures

    figures = {name: get_figure(name) for name in list_figures()}
    width = max(map(len, figures), default=0)
    lines = [f"  {name:<{width}}  {figure.title} ({figure.source})" for name, figure in figures.items()]
    return "\n".join(["figures", *lines, "  your own: path/to/file.py:figure or module:figure"])


def _show_plan(name: str, planned: Iterator[Planned]) -> None:
    """A row for each program, and what of the numbers was measured and what is assumed."""
    from rich.table import Table

    from jaxreward.reproduce.plan import NOTES
    from jaxreward.sweep.plan import show_duration

    columns = "part", SIZE, "a step here", "all here", "a step", "on one H200"
    table = Table(*columns, title=name, title_justify="left")
    total = [0.0, 0.0]
    for each in planned:
        total = [total[0] + each.seconds, total[1] + each.seconds_there]
        table.add_row(each.part, *_told(each))
    table.add_row("all", "", "", show_duration(total[0]), "", show_duration(total[1]), style="bold")
    out = console()
    out.print(table)
    for line in NOTES:
        out.print(line)


def _briefly(each: Planned) -> str:
    """How large a program is, and how long it takes here."""
    from jaxreward.sweep.plan import show_duration

    if each.work is None:
        return "not measured: computed at once"
    return f"{_size(each.work)}: about {show_duration(each.seconds)}"


def _size(work: Work) -> str:
    """Of a program, by which those of one part differ: see `SIZE`."""
    return f"{work.steps:,} x {work.seeds} x {work.configurations}"


def _told(each: Planned) -> list[str]:
    """The numbers of a program."""
    from jaxreward.results.summary import show
    from jaxreward.sweep.plan import show_duration

    if each.work is None or each.cost is None:
        return [_briefly(each), "-", "-", "-", "-"]
    iteration = each.work.steps / each.work.iterations
    return [
        _size(each.work),
        f"{show(1e6 * each.cost.seconds / iteration)} us",
        show_duration(each.seconds),
        f"{show(each.cost.flops / iteration)} FLOP",
        show_duration(each.seconds_there),
    ]


def _show(made: Reproduced) -> None:
    from rich.table import Table
    from rich.text import Text as Styled

    from jaxreward.reproduce.claims import describe

    table = Table(
        "claim",
        "paper",
        "ours, 95% interval of n runs",
        "must be",
        "verdict",
        title=made.title,
        title_justify="left",
        show_lines=True,
    )
    for claim in made.claims:
        verdict = Styled.assemble((claim.verdict, STYLES[claim.verdict]), f"\n{claim.why}" if claim.why else "")
        table.add_row(claim.text, claim.paper or "-", describe(claim.estimate), claim.holds, verdict)
    out = console()
    out.print(table)
    out.print(f"figure  {made.folder / 'figure.png'}", soft_wrap=True)
