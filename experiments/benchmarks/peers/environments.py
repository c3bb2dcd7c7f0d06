"""The environments the peers run in: they need older packages than we do."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PINNED = ("rejax==0.1.3", "gymnax==0.0.9")
SHARED = ("jax", "jaxlib", "flax", "optax", "chex", "distrax", "brax", "numpy")
"""Packages the peers get in the very version that is installed here, so that none of the difference is theirs."""

ARLBENCH = (
    "ARLBench==0.1.3", "optuna==5.0.0", "gymnasium<1", "mujoco==3.1.4", "mujoco-mjx==3.1.4", "ml_dtypes==0.4.0",
    "tensorstore==0.1.60", "numpy<2", "scipy==1.12.0", "pandas<2.3", "setuptools<81",
)  # fmt: skip
"""ARLBench pins jax 0.4.26 and leaves the rest open; these are the packages of that time that it works with."""

CACHE = Path.home() / ".cache" / "jaxreward" / "peers"


def requirements(jax_extra: str = "") -> list[str]:
    """What is installed for the peers; `jax_extra` is an extra of jax, such as `cuda13`."""
    return [*PINNED, *shared(jax_extra)]


def shared(jax_extra: str = "") -> list[str]:
    """`SHARED` with our versions; see `requirements`."""
    ours = {name: f"{name}=={version(name)}" for name in SHARED}
    if jax_extra:
        ours["jax"] = f"jax[{jax_extra}]=={version('jax')}"
    return list(ours.values())


def environment(cache: Path = CACHE, jax_extra: str = "") -> Path:
    """The Python of the PPO peers' environment; see `build`."""
    return build(requirements(jax_extra), cache)


def build(wanted: Sequence[str], cache: Path = CACHE, interpreter: str = sys.executable) -> Path:
    """The Python of an environment with some packages, built on first use and again when a version changes.

    Args:
        wanted: What is installed.
        cache: Where environments are.
        interpreter: The Python it is made with, another one where packages are too old for this.

    Raises:
        subprocess.CalledProcessError: If pip cannot install them; its own message is on stderr.
        ValueError: If there is no such interpreter.
    """
    found = shutil.which(interpreter)
    if found is None:
        raise ValueError(f"there is no {interpreter}; give the path of another interpreter of that version of Python")
    made_with = sys.version if interpreter == sys.executable else found
    folder = cache / hashlib.sha256(("\n".join(wanted) + made_with).encode()).hexdigest()[:12]
    python, complete = folder / "bin" / "python", folder / "requirements.txt"
    if not complete.exists():
        subprocess.run([found, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        complete.write_text("\n".join(wanted))
    return python


def check_purejaxrl(checkout: Path) -> None:
    """Makes sure that `checkout` is one of purejaxrl.

    Raises:
        ValueError: If its PPO is not there.
    """
    if not (checkout / "purejaxrl" / "ppo.py").is_file():
        raise ValueError(f"{checkout} has no purejaxrl/ppo.py: give the root of a checkout of purejaxrl's repository")
