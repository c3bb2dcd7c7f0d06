"""The environment the peers run in: they need an older gymnax than we do, and otherwise get our versions."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

PINNED = ("rejax==0.1.3", "gymnax==0.0.9")
SHARED = ("jax", "jaxlib", "flax", "optax", "chex", "distrax", "brax", "numpy")
"""Packages the peers get in the very version that is installed here, so that none of the difference is theirs."""

CACHE = Path.home() / ".cache" / "jaxreward" / "peers"


def requirements(jax_extra: str = "") -> list[str]:
    """What is installed for the peers; `jax_extra` is an extra of jax, such as `cuda13`."""
    shared = {name: f"{name}=={version(name)}" for name in SHARED}
    if jax_extra:
        shared["jax"] = f"jax[{jax_extra}]=={version('jax')}"
    return [*PINNED, *shared.values()]


def environment(cache: Path = CACHE, jax_extra: str = "") -> Path:
    """The Python of the peers' environment, built on first use and again when a version changes.

    Raises:
        subprocess.CalledProcessError: If pip cannot install them; its own message is on stderr.
    """
    wanted = "\n".join(requirements(jax_extra))
    folder = cache / hashlib.sha256((wanted + sys.version).encode()).hexdigest()[:12]
    python, complete = folder / "bin" / "python", folder / "requirements.txt"
    if not complete.exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted.splitlines()], check=True)
        complete.write_text(wanted)
    return python


def check_purejaxrl(checkout: Path) -> None:
    """Makes sure that `checkout` is one of purejaxrl.

    Raises:
        ValueError: If its PPO is not there.
    """
    if not (checkout / "purejaxrl" / "ppo.py").is_file():
        raise ValueError(f"{checkout} has no purejaxrl/ppo.py: give the root of a checkout of purejaxrl's repository")
