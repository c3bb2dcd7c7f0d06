"""A short check of an installation, for a Python on which not all tests are run: `python .ci/check_install.py`.

Every module is imported, and a run that is resumed ends in the bits of one that never stopped.
"""

import importlib
import json
import pkgutil
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("jaxreward", "jaxreward.agents", "jaxreward.envs", "jaxreward.experiments")
APART = (".__main__", ".peers.")
"""What runs when it is imported, or in an environment of its own."""
SIZES = ["num_envs=4", "num_steps=8", "num_minibatches=1", "num_epochs=1", "layers=8"]


def import_all() -> int:
    """Imports every module, and says how many there are."""
    paths = {package: importlib.import_module(package).__path__ for package in PACKAGES}
    found = [module.name for name, path in paths.items() for module in pkgutil.walk_packages(path, f"{name}.")]
    wanted = [name for name in found if not any(part in name for part in APART)]
    for name in wanted:
        importlib.import_module(name)
    return len(wanted)


def train(*arguments: str | Path) -> None:
    """Trains by the installed command."""
    command = Path(sys.executable).with_name("jaxreward")
    subprocess.run([command, "train", *arguments, "--quiet"], check=True)


def checksums(folder: Path) -> dict[int, list[int]]:
    """Of every array of a run's state, at each of its checkpoints."""
    records = {int(step.name): step / "host" / "metadata" for step in (folder / "checkpoints").iterdir()}
    return {iteration: json.loads(record.read_text())["crc32"] for iteration, record in records.items()}


def check_resume(place: Path) -> None:
    """A run is stopped in the middle and resumed."""
    told = ["--env", "CartPole-v1", "--seeds", "2", "--log-every", "1", "--set", *SIZES]
    train(*told, "--steps", "128", "--folder", place / "whole")
    train(*told, "--steps", "64", "--folder", place / "parts")
    train("--resume", "--steps", "128", "--folder", place / "parts")
    parts, whole = checksums(place / "parts"), checksums(place / "whole")
    if not (parts[4] == whole[4] != parts[2]):
        raise SystemExit("a resumed run ends in other bits than one that never stopped")


if __name__ == "__main__":
    modules = import_all()
    with tempfile.TemporaryDirectory() as place:
        check_resume(Path(place))
    print(
        f"Python {platform.python_version()}, jax {version('jax')}: {modules} modules import, "
        "a run resumes to the same bits"
    )
