"""Pictures of a car's lap."""

import numpy as np

from jaxreward.envs.subrl.car import Motion
from jaxreward.envs.subrl.car_drawing import laps
from jaxreward.envs.subrl.track import generated_track


def test_the_car_moves_along_the_track():
    s = np.array([0.0, 4.0, 12.0])
    pictures = list(laps(generated_track(), Motion(s, *np.zeros((5, 3)))))
    orange = [np.argwhere(np.abs(np.asarray(picture, int) - (221, 132, 82)).max(axis=-1) < 20) for picture in pictures]
    assert all(len(pixels) > 20 for pixels in orange)
    middles = np.stack([pixels.mean(axis=0) for pixels in orange])
    assert np.linalg.norm(np.diff(middles, axis=0), axis=1).min() > 50  # pixels
    blue = [(np.abs(np.asarray(picture, int) - (76, 114, 176)).max(axis=-1) < 40).sum() for picture in pictures]
    assert blue[0] < blue[1] < blue[2]  # the path grows
