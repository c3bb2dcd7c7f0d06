"""What accelerators can do at most, by their makers' data sheets."""

from __future__ import annotations

import math

BOUND = "float32 outside of tensor cores"
"""What `PEAKS` are of. XLA may take matrix products in TF32 within these cores, of which more can be done."""

PEAKS = {
    "NVIDIA H200": 67e12,
    "NVIDIA H100 80GB HBM3": 67e12,
    "NVIDIA A100-SXM4-40GB": 19.5e12,
    "NVIDIA A100-SXM4-80GB": 19.5e12,
    "NVIDIA L4": 30.3e12,
    "Tesla T4": 8.1e12,
}
"""Operations a second, by `jax.Device.device_kind`."""


def share_of_peak(achieved: float, kind: str) -> float:
    """What share of its peak a device achieves; NaN of one whose peak is not known here.

    Args:
        achieved: Operations a second.
        kind: `jax.Device.device_kind`.
    """
    return achieved / PEAKS.get(kind, math.nan)
