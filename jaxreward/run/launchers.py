"""Launchers by name."""

from __future__ import annotations

from jaxreward.names import check_name
from jaxreward.run.launcher import Launcher, local
from jaxreward.run.ray_launcher import RayLauncher


def ray(address: str | None = None, *, devices: int | None = None, retries: int = 3, progress: bool = True) -> Launcher:
    """Runs jobs on a Ray cluster or a local Ray, see `jaxreward.run.ray_launcher.RayLauncher`.

    Raises:
        RunError: Ray is not installed.
    """
    return RayLauncher(address, devices, retries, progress)


def get_launcher(
    name: str,
    *,
    address: str | None = None,
    devices: int | None = None,
    progress: bool = True,
    wandb: str | None = None,
) -> Launcher:
    """A launcher by name.

    Args:
        name: `local` or `ray`.
        address: Of a Ray cluster.
        devices: How many devices Ray gives each job.
        progress: Whether to show progress.
        wandb: A Weights & Biases project, which only the local launcher logs to.

    Raises:
        RunError: Ray is not installed.
        ValueError: There is no launcher of that name (says which is nearest), or it does not do what is asked for.
    """
    check_name("launcher", name, ("local", "ray"))
    if name == "local":
        if address or devices:
            raise ValueError("--address and --devices are for --launcher ray")
        return local(progress=progress, wandb=wandb)
    if wandb:
        raise ValueError("--launcher ray does not log to Weights & Biases; the run folders have everything")
    return ray(address, devices=devices, progress=progress)
