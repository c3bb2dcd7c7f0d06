"""The SubPO authors' tabular training loop, `main.py` of github.com/manish-pra/non-additive-RL, as it is.

Started as `python run_subpo_authors.py SPEC`, SPEC being JSON of `subpo.authors_spec`; it runs in an environment of its
own. On stdout goes one JSON line for each epoch: `seconds` since the one before (for the first, since the start, set-up
included), `steps` of the environment and `mean_return`, the batch mean of the submodular return.

Their code reads its files below a folder `subrl` of the working directory and reports to wandb. It gets such a folder,
temporary and made of links into the checkout, with a copy of its parameters in which only what the spec says is
changed, and a stand-in for wandb. GPyTorch and BoTorch are needed only to draw new instances and are stand-ins too.
It sets no seed, so torch's generator is seeded here.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

UNUSED = {
    "gpytorch": (),
    "gpytorch.kernels": ("ScaleKernel", "MaternKernel"),
    "botorch": (),
    "botorch.models": ("SingleTaskGP",),
}
"""Modules that only drawing new instances needs, and what is imported from them."""


def main() -> None:
    """Trains once."""
    spec, out = json.loads(sys.argv[1]), sys.stdout
    report = lambda line: print(json.dumps(line), file=out, flush=True)  # noqa: E731
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        workspace = prepare(Path(spec["checkout"]), Path(folder), spec["params"], spec["changes"])
        stand_in(wandb(report), *(module(name, names) for name, names in UNUSED.items()))
        run(workspace, spec["instance"], spec["seed"])


def prepare(checkout: Path, folder: Path, name: str, changes: dict[str, dict[str, Any]]) -> Path:
    """Makes their workspace `folder/subrl`: the checkout, with the parameters called `name` changed.

    Args:
        checkout: Of their repository.
        folder: Where the workspace goes.
        name: Of a parameter file, as in `GP/subrl_M`.
        changes: Values to set, by section and key.

    Returns:
        The workspace; its parameters are called `benchmark`.
    """
    import yaml

    workspace = folder / "subrl"
    (workspace / "params").mkdir(parents=True)
    for path in checkout.iterdir():
        if path.name != "params":
            (workspace / path.name).symlink_to(path.resolve())
    params = yaml.safe_load((checkout / "params" / f"{name}.yaml").read_text())
    for section, values in changes.items():
        params[section].update(values)
    (workspace / "params" / "benchmark.yaml").write_text(yaml.safe_dump(params))
    return workspace


def wandb(report: Callable[[dict[str, float]], None]) -> ModuleType:
    """A module with as much of wandb as they use, which tells `report` of every epoch."""
    stub = ModuleType("wandb")
    since = time.perf_counter()
    steps = 0

    def init(config: dict[str, Any], **_: Any) -> None:
        nonlocal since, steps
        steps = config["common"]["batch_size"] * (config["env"]["horizon"] - 1)
        since = time.perf_counter()

    def log(values: dict[str, Any]) -> None:
        nonlocal since
        now = time.perf_counter()
        report({"seconds": now - since, "steps": steps, "mean_return": float(values["mean"])})
        since = time.perf_counter()

    vars(stub).update(init=init, log=log, finish=lambda: None)
    return stub


def module(name: str, names: tuple[str, ...]) -> ModuleType:
    """An empty module from which `names` can be imported."""
    stub = ModuleType(name)
    vars(stub).update(dict.fromkeys(names))
    return stub


def stand_in(*modules: ModuleType) -> None:
    """Has these modules imported under their names."""
    sys.modules.update({each.__name__: each for each in modules})


def run(workspace: Path, instance: int, seed: int) -> None:
    """Runs their `main.py`, seeded, on one of the shipped instances."""
    os.chdir(workspace.parent)
    sys.path.insert(0, str(workspace))
    import torch

    torch.manual_seed(seed)
    sys.argv = ["main.py", "-param", "benchmark", "-env", str(instance)]
    runpy.run_path(str(workspace / "main.py"), run_name="__main__")


if __name__ == "__main__":
    main()
