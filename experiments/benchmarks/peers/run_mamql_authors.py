"""The MAMQL authors' trainer of the game of gems, `gems/train_gem.py` of github.com/USC-Lira/ma-mql, as it is.

Started as `python run_mamql_authors.py SPEC`, SPEC being JSON of `mamql.authors_spec`; it runs in an environment of its
own. On stdout goes one JSON line: `run_s` and `cpu_s` of all steps of Adam but the first ones, with what is played
behind each, and `load` of the machine.

Their code reads and writes beside its sources. It gets a temporary folder made of links into the checkout. The
transitions that it starts from are made here, as many as it has room for, by random play in their own game.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

BUFFER = "expert_data/buffer_init/rb_gem.csv"
STORED = 2_000
"""Transitions to start from."""


def main() -> None:
    """Trains once."""
    spec, out = json.loads(sys.argv[1]), sys.stdout
    sys.dont_write_bytecode = True  # or it would go into the checkout
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        workspace = prepare(Path(spec["checkout"]), Path(folder))
        os.chdir(workspace)
        sys.path.insert(0, str(workspace))
        allow_copies()
        answer = run(spec)
    print(json.dumps(answer), file=out, flush=True)


def prepare(checkout: Path, folder: Path) -> Path:
    """A workspace of links into the checkout, with folders of its own where they write."""
    for path in checkout.iterdir():
        if path.name not in ("expert_data", "ma_models", ".git"):
            (folder / path.name).symlink_to(path.resolve())
    (folder / BUFFER).parent.mkdir(parents=True)
    (folder / "ma_models").mkdir()
    for path in (checkout / "expert_data").glob("*.csv"):
        (folder / "expert_data" / path.name).symlink_to(path.resolve())
    return folder


def allow_copies() -> None:
    """Has NumPy 2 take `copy=False` for what NumPy 1 did, for which they were written: a copy if one is needed."""
    make = np.array
    vars(np)["array"] = lambda *given, **more: make(*given, **{**more, **({"copy": None} if "copy" in more else {})})


def run(spec: dict[str, Any]) -> dict[str, float]:
    """All of a run, in their own loop; only what its steps take is told.

    Raises:
        RuntimeError: They took another number of steps than what is told of them is divided by.
    """
    import torch

    np.random.seed(spec["seed"])  # noqa: NPY002, they draw from it
    random.seed(spec["seed"])
    torch.manual_seed(spec["seed"])
    trainer = importlib.import_module("gems.train_gem")
    torch.save(played(trainer.maEnv(), torch), BUFFER)
    load = torch.load
    vars(torch)["load"] = lambda *given: load(*given, weights_only=False)  # what it did when they wrote it
    told: list[tuple[float, float]] = []
    learn = trainer.OfflineSACIQLearn.learn

    def timed(*given: Any) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        learn(*given)
        told.append((time.perf_counter() - wall, time.process_time() - cpu))

    trainer.OfflineSACIQLearn.learn = timed
    trainer.gems_ma_irl(spec["config"], 4).train()
    expected = spec["config"]["num_agents"] * spec["config"]["episodes"]
    if len(told) != expected:
        raise RuntimeError(f"the authors' trainer took {len(told)} steps of Adam of one critic; expected {expected}")
    run_s, cpu_s = np.sum(told[spec["warm_up"] :], 0)
    return {"run_s": float(run_s), "cpu_s": float(cpu_s), "load": os.getloadavg()[0]}


def played(env: Any, torch: Any) -> list[tuple]:
    """Transitions of random play, as their buffer keeps them."""
    kept, state, done = [], env.reset(), False
    for _ in range(STORED):
        if done:
            state = env.reset()
        actions = [random.randrange(5), random.randrange(5)]
        following, reward, done, _ = env.step(actions)
        kept.append((torch.tensor(state, dtype=torch.float32)[None], following, actions, reward, done))
        state = following
    return kept


if __name__ == "__main__":
    main()
