"""The sections of a page about figures that were made again, and what all of them say of their papers' claims."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxreward.report.page import Html, code, details, drawing, heading, link, note, table
from jaxreward.reproduce.claims import Checked, Verdict, counts, describe
from jaxreward.reproduce.figure import Reproduced

LARGEST_SVG = 1_000_000
"""Characters; beyond, the picture made of pixels is the smaller one."""


def claims_overview(figures: Sequence[Reproduced]) -> str:
    """All claims of all figures, and how many are met."""
    everything = [claim for figure in figures for claim in figure.claims]
    number = f"{len(everything)} claim{'s' * (len(everything) != 1)}"
    total = ", ".join(_badge(verdict, f"{count} {verdict}") for verdict, count in counts(everything).items())
    rows = (
        [link(f"{figure.name}, {figure.scale}", anchor(figure)), *_cells(claim)[:3], _cells(claim)[-1]]
        for figure in figures
        for claim in figure.claims
    )
    columns = ["figure", "claim", "paper", "ours, 95% interval of n runs", "verdict"]
    return "\n".join(
        [
            heading("Claims", "claims"),
            f"<p>{number}: {total}</p>",
            table(columns, rows, {"figure", "claim", "verdict"}, cards=True),
        ]
    )


def figure_section(figure: Reproduced) -> str:
    """One figure: the picture, its claims, what differs from the paper and what it was made with."""
    columns = ["claim", "paper", "ours, 95% interval of n runs", "must be", "verdict"]
    made = {**figure.made, "computed": dict(figure.computed)}
    return "\n".join(
        [
            heading(f"{figure.title} ({figure.scale})", anchor(figure)),
            note(f"{figure.source}. The data is in {figure.folder}."),
            drawing(_picture(figure)),
            table(columns, map(_cells, figure.claims), {"claim", "verdict"}, cards=True),
            details("What differs from the paper", note(figure.notes)) if figure.notes else "",
            details("Versions and device", code(json.dumps(made, indent=2))),
        ]
    )


def anchor(figure: Reproduced) -> str:
    """Where on the page a figure is; no two of one page are in the same folder."""
    return "figure-" + "-".join("".join(c if c.isalnum() else " " for c in str(figure.folder)).split())


def find_figures(places: Iterable[Path]) -> list[Path]:
    """The folders of figures that were made again, however deep."""
    return [claims.parent for place in places for claims in sorted(place.rglob("claims.json"))]


def _cells(claim: Checked) -> list[str]:
    why = f'<span class="why">{html.escape(claim.why)}</span>' if claim.why else ""
    verdict = Html(_badge(claim.verdict, claim.verdict) + why)
    return [claim.text, claim.paper or "-", describe(claim.estimate), claim.holds, verdict]


def _badge(verdict: Verdict, text: str) -> str:
    return f'<span class="badge {verdict.replace(" ", "-")}">{text}</span>'


def _picture(figure: Reproduced) -> str:
    """The drawing itself where it is small enough, or an image of it."""
    svg = (figure.folder / "figure.svg").read_text()
    if len(svg) <= LARGEST_SVG:
        return svg
    pixels = base64.b64encode((figure.folder / "figure.png").read_bytes()).decode()
    return f'<img alt="{html.escape(figure.title)}" src="data:image/png;base64,{pixels}">'
