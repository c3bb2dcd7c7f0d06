"""The agents of `statisticalRL-learners` in their own environments, as the packages ship them.

Started as `python run_statisticalrl.py SPEC`, SPEC being JSON of `average.peer_spec`; it runs in an environment of its
own. On stdout goes one JSON line: `run_s` and `cpu_s` of all steps, `load` of the machine, `reward`, the sum of all
rewards. A run is what their own experiments do: play, step, update. Both packages draw from NumPy's global generator,
which is seeded here.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from typing import Any

import numpy as np

vars(np).setdefault("infty", np.inf)  # they were written for NumPy 1; that name is all that is gone

AGENTS = {"ucrl2": "UCRL2.UCRL2", "ucrl3": "UCRL3.UCRL3_lazy", "psrl": "PSRL.PSRL", "imed_rl": "IMED_RL.IMEDRL"}
DELTA = 0.05


def main() -> None:
    """Runs once."""
    spec, out = json.loads(sys.argv[1]), sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        answer = run(spec)
    print(json.dumps(answer), file=out, flush=True)


def run(spec: dict[str, Any]) -> dict[str, float]:
    """All steps of one agent in one environment."""
    from statisticalrl_environments import register

    np.random.seed(spec["seed"])  # noqa: NPY002, see above
    env = register.make(spec["env"])
    agent = make(spec["agent"], env)
    state, _ = env.reset(seed=spec["seed"])
    agent.reset(state)
    total, wall, cpu = 0.0, time.perf_counter(), time.process_time()
    for _ in range(spec["steps"]):
        action = agent.play(state)
        following, reward, *_ = env.step(action)
        agent.update(state, action, reward, following)
        state, total = following, total + reward
    seconds = {"run_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    return {**seconds, "load": os.getloadavg()[0], "reward": float(total)}


def make(name: str, env: Any) -> Any:
    """An agent by our name."""
    module, _, kind = AGENTS[name].partition(".")
    make_agent = getattr(importlib.import_module(f"statisticalrl_learners.MDPs_discrete.{module}"), kind)
    sizes = env.observation_space.n, env.action_space.n
    return make_agent(*sizes) if name == "imed_rl" else make_agent(*sizes, DELTA)


if __name__ == "__main__":
    main()
