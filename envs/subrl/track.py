"""A race track along its centre line: how it bends, and how far its borders are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxreward.names import check_name

COLUMNS = ("s", "curvature", "upper", "lower")
"""What a table of a track has; lengths in metres, `curvature` in 1/metre."""

_PLAIN_FILES = dict(zip(COLUMNS, ("s_center.txt", "kappa_center.txt", "con_inner.txt", "con_outer.txt"), strict=True))
"""A folder of plain columns, as the authors of submodular reinforcement learning publish their miniature track."""

_LENGTH, _POINTS = 16.4, 1000
_CORNERS = 4
"""Of half a lap; one of them turns right."""
_WIDEST, _SHARPEST = 1.6, 5.8
"""Curvatures (1/m) between which a corner's peak is drawn."""


class Place(NamedTuple):
    """The track at one point of its centre line."""

    curvature: Float[Array, ""]
    upper: Float[Array, ""]
    lower: Float[Array, ""]


@struct.dataclass
class Track:
    """A lap as a table of places at equal distances, the first of them at the start.

    Attributes:
        curvature: Of the centre line, `[n]` in 1/m; positive where it turns left.
        upper: Where the left border is, `[n]` in m to the left of the centre line.
        lower: Where the right border is, as a negative number, `[n]` in m.
        spacing: Distance of two places along the centre line, in m.
    """

    curvature: Float[Array, " n"]
    upper: Float[Array, " n"]
    lower: Float[Array, " n"]
    spacing: Float[Array, ""]

    @property
    def length(self) -> Float[Array, ""]:
        """Of a lap, in m."""
        return self.spacing * len(self.curvature)

    def at(self, s: Float[Array, ""]) -> Place:
        """The track `s` metres from the start, interpolated linearly; it repeats itself every lap."""
        steps = jnp.mod(s / self.spacing, len(self.curvature))
        before = jnp.floor(steps)
        share = steps - before
        here = before.astype(jnp.int32) % len(self.curvature)  # rounded up, the remainder may be all of the divisor
        after = (here + 1) % len(self.curvature)

        def between(column: Float[Array, " n"]) -> Float[Array, ""]:
            return column[here] + share * (column[after] - column[here])

        return Place(between(self.curvature), between(self.upper), between(self.lower))


def from_table(s: np.ndarray, curvature: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> Track:
    """A track from a table whose rows may be at unequal distances.

    Args:
        s: Distances from the start along the centre line, `[n]` in m: increasing from 0 to the length of a lap. The
            last row is at the same place as the first, so nothing else is read of it.
        curvature: See `Track`, `[n]`.
        upper: See `Track`, `[n]`.
        lower: See `Track`, `[n]`.

    Raises:
        ValueError: If the columns don't fit together, or don't describe a track.
    """
    table = dict(zip(COLUMNS, (np.asarray(x, float) for x in (s, curvature, upper, lower)), strict=True))
    _check_table(table)
    distances, length = table["s"][:-1], table["s"][-1]
    places = np.arange(len(distances)) * (length / len(distances))
    columns = {name: np.interp(places, distances, table[name][:-1], period=length) for name in COLUMNS[1:]}
    return _track(columns, length / len(distances))


def read_track(path: str | Path) -> Track:
    """A track from a file or a folder.

    Args:
        path: A `.csv` file whose first line names the columns `s, curvature, upper, lower`, an `.npz` file of arrays of
            these names, or a folder with the four text files `s_center.txt`, `kappa_center.txt`, `con_inner.txt` and
            `con_outer.txt` of one number a line. What the columns mean: see `from_table`.

    Raises:
        ValueError: If there is no such file, a column is missing, or the table does not describe a track.
    """
    path = Path(path).expanduser()
    if not path.exists():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        check_name("track", str(path), map(str, beside))
    try:
        return from_table(*_read_columns(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def generated_track(seed: int = 0) -> Track:
    """A closed lap of 16.4 m with straights and smooth corners, in the proportions of a 1:43 miniature race track.

    The second half of a lap repeats the first, which turns by half a circle: whatever the corners, the lap closes. The
    track is 0.37 m wide, and its centre line cuts the corners: the border is nearer on their inner side, which
    also keeps it away from the centre of curvature, where distances along the centre line have no meaning.

    Args:
        seed: Draws the corners. The same seed gives the same track.
    """
    rng = np.random.default_rng(seed)
    lap = _lap(rng)
    while _meets_itself(lap):
        lap = _lap(rng)
    shift = 0.115 * lap / _SHARPEST
    return _track({"curvature": lap, "upper": 0.185 - shift, "lower": -0.185 - shift}, _LENGTH / _POINTS)


def centre_line(curvature: Float[np.ndarray, " n"], spacing: float) -> Float[np.ndarray, "n+1 3"]:
    """Where the centre line runs, from the start at the origin heading along x.

    Args:
        curvature: See `Track`, `[n]`.
        spacing: See `Track`.

    Returns:
        x and y in m and the heading in radians at each place, and at the end of the lap.
    """
    curvature = np.asarray(curvature, float)
    turns = (curvature + np.roll(curvature, -1)) / 2 * spacing
    heading = np.concatenate([[0.0], np.cumsum(turns)])
    between = (heading[1:] + heading[:-1]) / 2
    steps = spacing * np.stack([np.cos(between), np.sin(between)], axis=1)
    positions = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    return np.concatenate([positions, heading[:, None]], axis=1)


def to_plane(
    track: Track, s: Float[np.ndarray, " T"], d: Float[np.ndarray, " T"]
) -> tuple[Float[np.ndarray, "T 2"], Float[np.ndarray, " T"]]:
    """Points given along the track as points of the plane, for pictures.

    Args:
        track: The track.
        s: Distances from the start along the centre line, `[T]` in m.
        d: Distances to the left of it, `[T]` in m.

    Returns:
        x and y, `[T, 2]` in m, and the heading of the centre line beside them, `[T]` in radians; see `centre_line`.
    """
    line = centre_line(np.asarray(track.curvature), float(track.spacing))
    places = np.arange(len(line)) * float(track.spacing)
    x, y, heading = (np.interp(np.mod(s, places[-1]), places, column) for column in line.T)
    return np.stack([x - d * np.sin(heading), y + d * np.cos(heading)], axis=1), heading


def _track(columns: Mapping[str, np.ndarray], spacing: float) -> Track:
    arrays = {name: jnp.asarray(column, float) for name, column in columns.items()}
    return Track(spacing=jnp.asarray(spacing, float), **arrays)


def _lap(rng: np.random.Generator) -> Float[np.ndarray, " points"]:
    """Curvatures of a lap: in each half corners that turn by half a circle in all, with straights between them."""
    angles = rng.uniform(0.6, 1.4, _CORNERS)
    right = rng.integers(_CORNERS)
    angles[right] *= -1
    others = np.arange(_CORNERS) != right
    angles[others] *= (np.pi - angles[right]) / angles[others].sum()
    peaks = np.exp(rng.uniform(np.log(_WIDEST), np.log(_SHARPEST), _CORNERS))
    lengths = 2 * np.abs(angles) / peaks
    straights = rng.dirichlet(np.full(_CORNERS, 4.0)) * (_LENGTH / 2 - lengths.sum())
    ends = np.cumsum(straights + lengths)
    s = np.arange(_POINTS // 2) * (_LENGTH / _POINTS)
    within = (s[:, None] - (ends - lengths)) / lengths
    bends = (np.sign(angles) * peaks * np.sin(np.pi * np.clip(within, 0, 1)) ** 2).sum(axis=1)
    turned = bends.sum() * _LENGTH / _POINTS
    return np.tile(bends * (np.pi / turned), 2)


def _meets_itself(lap: Float[np.ndarray, " points"]) -> bool:
    """Whether places that are a metre or more apart along the lap are within 0.6 m of each other."""
    every = 5
    places = centre_line(lap, _LENGTH / _POINTS)[:-1:every, :2]
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    steps = np.abs(np.arange(len(places))[:, None] - np.arange(len(places)))
    along = np.minimum(steps, len(places) - steps) * (every * _LENGTH / _POINTS)
    return bool((apart[along >= 1.0] < 0.6).any())


def _read_columns(path: Path) -> list[np.ndarray]:
    """The columns of a table, in the order of `COLUMNS`."""
    if path.is_dir():
        missing = [name for name in _PLAIN_FILES.values() if not (path / name).is_file()]
        if missing:
            raise ValueError(f"expected the files {', '.join(_PLAIN_FILES.values())}; there is no {missing[0]}")
        return [np.loadtxt(path / name) for name in _PLAIN_FILES.values()]
    table = _read_table(path)
    for name in COLUMNS:
        check_name("column", name, table)
    return [np.asarray(table[name]) for name in COLUMNS]


def _read_table(path: Path) -> Mapping[str, np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return dict(arrays)
    if path.suffix == ".csv":
        rows = np.genfromtxt(path, delimiter=",", names=True)
        return {name: rows[name] for name in rows.dtype.names or ()}
    raise ValueError(f"a track is a .csv file, an .npz file or a folder; got {path.suffix or 'no ending'}")


def _check_table(table: Mapping[str, np.ndarray]) -> None:
    shapes = {name: column.shape for name, column in table.items()}
    s = table["s"]
    if len(set(shapes.values())) > 1 or s.ndim != 1 or len(s) < 3:
        raise ValueError(f"expected columns of one length, at least 3; got the shapes {shapes}")
    for name, column in table.items():
        if not np.isfinite(column).all():
            raise ValueError(f"column {name!r} has no number in row {int(np.argmin(np.isfinite(column)))}")
    if s[0] != 0 or (np.diff(s) <= 0).any():
        raise ValueError(
            f"s increases from 0, the start, to the length of a lap; it starts at {s[0]} and "
            f"its smallest step is {np.diff(s).min()}"
        )
    if (table["upper"] <= 0).any() or (table["lower"] >= 0).any():
        raise ValueError(
            "upper is the left border, positive, and lower the right one, negative; "
            f"upper goes down to {table['upper'].min()}, lower up to {table['lower'].max()}"
        )
