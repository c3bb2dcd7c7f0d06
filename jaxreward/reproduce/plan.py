"""What a figure will take: how much is to be run, what that costs here, and what it might on an accelerator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxreward.compilation.cache import compiled_anew, enable_compilation_cache
from jaxreward.compilation.peaks import PEAKS
from jaxreward.reproduce.parts import Computed, Part, planned
from jaxreward.reproduce.work import Cost, Work, of_job
from jaxreward.run.cost import SAMPLE
from jaxreward.sweep.plan import show_duration

PEAK = PEAKS["NVIDIA H200"]
"""Float32 operations a second of one H200 outside of its tensor cores, by NVIDIA's data sheet."""
ACHIEVED = 0.01
"""The share of that which is assumed to be achieved: small networks and environments are far from the peak."""
NOTES = (
    f"Measured here: the first iterations of at most {SAMPLE} runs of each program, and its compilation, "
    "as where it was never compiled before.",
    "Assumed: that more runs take in proportion, and later iterations as long. They take longer where a warm-up ends, "
    "as BARFI's does, and where all runs plan as soon as one has to, as LOOP's do.",
    "Counted: operations in what JAX traces of an iteration; of branches the dearest, loops of unknown length once.",
    f"Assumed of one H200: {ACHIEVED:.0%} of its {PEAK / 1e12:.0f} TFLOP/s in float32, nothing for compilation or for "
    "waiting; it was not measured.",
)


class Planned(NamedTuple):
    """A program, and what it costs.

    Attributes:
        part: Of which part of the figure it is.
        work: How much is run; None where that can't be said before.
        cost: What a run's iteration costs; None where there is no `work`.
    """

    part: str
    work: Work | None
    cost: Cost | None

    @property
    def seconds(self) -> float:
        """All of it, here."""
        if not self.work or not self.cost:
            return 0.0
        return self.cost.compile_seconds + self.cost.seconds * self.work.run_iterations

    @property
    def seconds_there(self) -> float:
        """All of it, on one H200."""
        return self.cost.flops * self.work.run_iterations / (PEAK * ACHIEVED) if self.work and self.cost else 0.0


def plan(parts: Mapping[str, Part], wanted: Sequence[str], folder: Path) -> Iterator[Planned]:
    """Measures, one after the other, the programs that are still to be run; nothing is kept of them but what compiled.

    Args:
        parts: Of the figure.
        wanted: Which of them.
        folder: The figure's.
    """
    enable_compilation_cache()
    known: dict[str, Cost] = {}
    for name in wanted:
        for work in works(name, parts[name], folder):
            if work and work.alike not in known:
                with compiled_anew():
                    known[work.alike] = work.measure()
            yield Planned(name, work, work and known[work.alike])


def works(name: str, part: Part, folder: Path) -> Iterable[Work | None]:
    """What of a part is still to be run; None where nobody knows."""
    if isinstance(part, Computed):
        return () if part.found(folder, name) else part.works() or (None,)
    return [of_job(job) for job in planned(name, part, folder) if not job.finished()]


def estimate(planned: Sequence[Planned]) -> str:
    """How long all of it takes here, in a sentence."""
    known = [each for each in planned if each.work]
    if not known:
        return "how long it takes can't be measured before"
    more = ", beside what can't be measured before" if len(known) < len(planned) else ""
    return (
        f"about {show_duration(sum(each.seconds for each in known))} on this machine{more}: by the first iterations of "
        f"{len(known)} program{'s' * (len(known) != 1)}, measured just now; later ones may take longer"
    )
