"""The searches of SERENE's and STAX's authors, `scripts/run_experiment.py` of github.com/GPaolo/SERENE or STAX.

Started as `python run_stax_authors.py SPEC`, SPEC being JSON of `searches.authors_spec`; it runs as it is, in an
environment of its own. On stdout goes one JSON line for each of their chunks, with its `seconds` (those of the first
have the set-up in them) and `evaluations`, and one at the end, with what was found by then: `coverage`, the share of
the cells of their 50 x 50 grid in which the first population or a child of their exploration ended, and `best`, the
highest reward; of STAX also `updates`, the steps of Adam that its autoencoder was trained with.

Their code takes its seed from the clock, or none for torch, and counts on a progress bar. It gets the seed and those of
its parameters that the spec says, and a bar that reports. What it saves after each generation goes into a temporary
folder. STAX's repository lacks the packages of its environments, which SERENE's has.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

UNUSED = ("iisignature", "ot")
"""Modules that STAX's code imports for behaviours and distances which it does not use here."""


def main() -> None:
    """Searches once."""
    spec, out = json.loads(sys.argv[1]), sys.stdout
    sys.dont_write_bytecode = True  # or it would go into the checkout
    os.environ.update(MPLBACKEND="Agg", SDL_VIDEODRIVER="dummy")
    report = lambda line: print(json.dumps(line), file=out, flush=True)  # noqa: E731
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        stand_in(bar(report), *map(ModuleType, UNUSED))
        run(Path(spec["checkout"]), Path(folder), spec)
        report(found(Path(folder), spec["environment"]) | trained(Path(folder)))


def bar(report: Callable[[dict[str, float]], None]) -> ModuleType:
    """A module with as much of `progress.bar` as they use, which tells `report` of every chunk."""

    class Bar:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.since = time.perf_counter()

        def next(self, n: int) -> None:
            now = time.perf_counter()
            report({"seconds": now - self.since, "evaluations": int(n)})
            self.since = now

        def finish(self) -> None:
            """Asked for only where they caught an error, after which they would end as if there had been none."""
            raise SystemExit(f"{type(sys.exc_info()[1]).__name__}: {sys.exc_info()[1]}")

    stub = ModuleType("progress.bar")
    vars(stub).update(Bar=Bar)
    return stub


def stand_in(*modules: ModuleType) -> None:
    """Has each of these modules imported under its name."""
    for module in modules:
        package = ModuleType(module.__name__.partition(".")[0])
        sys.modules.update({package.__name__: package, module.__name__: module})


def run(checkout: Path, folder: Path, spec: dict[str, Any]) -> None:
    """Runs their experiment, seeded."""
    os.chdir(folder)
    # Their environments are packages of their own, that are not in the index.
    sys.path[:0] = [str(checkout), spec["assets"]]
    from parameters import params

    vars(params).update(seed=spec["seed"], **spec["params"])
    if spec["learns"]:
        prepare_torch(spec["seed"])
    asked = {"-env": spec["environment"], "-exp": spec["experiment"], "-eb": spec["evaluations"], "-sp": folder}
    sys.argv = ["run_experiment.py", *(str(part) for option in asked.items() for part in option)]
    runpy.run_path(str(checkout / "scripts" / "run_experiment.py"), run_name="__main__")


def prepare_torch(seed: int) -> None:
    """Seeds it, and has layers see numbers in the order that they had in the torch of their time."""
    import torch

    torch.manual_seed(seed)
    # Today's convolutions pass on the order of the pictures in a batch of training, of which `View` can make no rows.
    order = lambda _, inputs: tuple(each.contiguous() for each in inputs)  # noqa: E731
    torch.nn.modules.module.register_module_forward_pre_hook(order)


def found(folder: Path, environment: str) -> dict[str, float]:
    """What their run has found, from what it saved below `folder`."""
    import numpy as np
    from environments import registered_envs

    grid = registered_envs[environment]["grid"]
    low, high = np.array(grid["min_coord"]), np.array(grid["max_coord"])
    explored = list(agents(folder))
    ends = np.array([agent["gt_bd"] for agent in explored])
    cells = np.clip((ends - low) / (high - low) * grid["bins"], 0, grid["bins"] - 1).astype(int)
    rewards = [agent["reward"] for agent in explored] + list(rewards_of_emitters(folder))
    return {"coverage": len(set(map(tuple, cells))) / grid["bins"] ** len(low), "best": float(max(rewards))}


def agents(folder: Path) -> Iterator[dict[str, Any]]:
    """The first population, and all children of the exploration."""
    for path in [*folder.rglob("population_gen_1.pkl"), *folder.rglob("offsprings_gen_*.pkl")]:
        yield from pickle.loads(path.read_bytes())


def rewards_of_emitters(folder: Path) -> Iterator[float]:
    """Those stored, the best of every emitter among them; none in an experiment without emitters."""
    from parameters import params

    index = params.archive_stored_info.index("reward")
    for path in folder.rglob("rew_archive_final.pkl"):
        items, _ = pickle.loads(path.read_bytes())
        yield from (item[index] for item in items)


def trained(folder: Path) -> dict[str, int]:
    """How many steps Adam made, from the network saved at the end; nothing in an experiment without one."""
    for path in folder.rglob("ae_final.pth"):
        import torch

        state = torch.load(path)["optimizer"]["state"]
        return {"updates": int(state[0]["step"]) if state else 0}
    return {}


if __name__ == "__main__":
    main()
