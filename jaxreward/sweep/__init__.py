"""Sweeps: every combination of some choices, each with every seed, in as few compiled programs as there can be."""

from jaxreward.sweep.plan import Plan as Plan
from jaxreward.sweep.plan import describe as describe
from jaxreward.sweep.plan import plan as plan
from jaxreward.sweep.plan import sweep_of as sweep_of
from jaxreward.sweep.run import Swept as Swept
from jaxreward.sweep.run import run_sweep as run_sweep
from jaxreward.sweep.run import runs_of as runs_of
from jaxreward.sweep.run import sweep_metrics as sweep_metrics
from jaxreward.sweep.spec import Sweep as Sweep
from jaxreward.sweep.spec import read_sweep as read_sweep
