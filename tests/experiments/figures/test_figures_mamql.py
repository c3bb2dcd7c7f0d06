"""The figure of gems learned from demonstrations: what is claimed, on data that meets it and on data that does not."""

import numpy as np
import pandas as pd
import pytest

from jaxreward.experiments.figures.mamql import gems
from jaxreward.reproduce.claims import check

MEANS = {"MAMQL": (8.5, 12.8, 13.1), "independent IQ-Learn": (2.4, 7.3, 11.5), "cloning": (6.0, 11.0, 13.0)}


def table(means, demonstrator=13.2):
    """Six runs of each method with each number of transitions, a little apart, and a demonstrator's episodes."""
    rows = [
        (method, number, seed, mean + 0.02 * seed)
        for method, each in means.items()
        for number, mean in zip((1_000, 10_000, 20_000), each, strict=True)
        for seed in range(6)
    ]
    rows += [(gems.DEMONSTRATOR, 20_000, episode, demonstrator + (-1) ** episode) for episode in range(8)]
    return pd.DataFrame(rows, columns=["method", "number", "seed", "return"])


def verdicts(frame, scale="small"):
    return [check(claim, frame, scale).verdict for claim in gems.figure.claims]


def test_claims_are_met_by_what_the_authors_plot_shows():
    assert verdicts(table(MEANS)) == ["met"] * 5
    assert verdicts(table(MEANS), "smoke") == ["not decidable"] * 5


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"MAMQL": (8.5, 12.8, 12.0)}, [0]),
        ({"independent IQ-Learn": (9.0, 7.3, 11.5)}, [1]),
        ({"cloning": (9.0, 14.0, 13.0)}, [2, 4]),
        ({"independent IQ-Learn": (2.4, 13.5, 11.5)}, [3]),
    ],
)
def test_claims_are_not_met_otherwise(changed, wrong):
    found = verdicts(table({**MEANS, **changed}))
    assert [place for place, verdict in enumerate(found) if verdict == "not met"] == wrong


def test_returns_of_a_file_are_of_whole_episodes(tmp_path):
    """Episodes of 2, 1 and 3 steps, the last two of which were cut, one by the recording: means over agents."""
    paid = np.array([[1.0, 3.0], [0, 2], [5, 7], [1, 1], [0, 0], [9, 9]])
    ends = {"terminated": np.array([0, 1, 0, 0, 0, 0], bool), "truncated": np.array([0, 0, 1, 0, 0, 1], bool)}
    np.savez(tmp_path / "shown.npz", reward=paid, **ends)
    np.testing.assert_allclose(gems.returns_of(tmp_path / "shown.npz"), [3, 6])


def test_it_is_drawn():
    axis = gems.plot(table(MEANS)).axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [*MEANS, gems.DEMONSTRATOR]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), np.array(MEANS["MAMQL"]) + 0.05)
    assert axis.lines[-1].get_ydata()[0] == 13.2
