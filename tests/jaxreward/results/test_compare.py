"""Comparing configurations on the command line and in Python."""

import re
import shlex

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats

from jaxreward.cli import main
from jaxreward.results.compare import contrasts, read_entries
from jaxreward.results.statistics import aggregate_iqm, paired_test, probability_of_improvement, unpaired_test
from jaxreward.run.store import RunError, RunFolder


def make_run(path, scores, seeds=None, failed=()):
    """A run of one logged row, `scores` being by learning rate those of each seed."""
    run, rates = RunFolder(path), list(scores)
    run.create()
    seeds = list(range(len(scores[rates[0]]))) if seeds is None else list(seeds)
    population = [{"learning_rate": rate} for rate in rates] if len(rates) > 1 else [{}]
    described = {"config": {"env": "CartPole-v1", "settings": {"num_envs": 8}}, "population": population}
    run.write_config({**described, "seeds": seeds, "iterations": 1, "log_every": 1})
    rows = len(rates) * len(seeds)
    values = np.array([scores[rate] for rate in rates], float).ravel()
    columns = {
        "iteration": np.ones(rows, int),
        "env_steps": np.full(rows, 64),
        "wall_seconds": np.ones(rows),
        "member": np.repeat(np.arange(len(rates)), len(seeds)),
        "seed": np.tile(seeds, len(rates)),
        "failed": np.isin(np.tile(seeds, len(rates)), failed),
        **({"learning_rate": np.repeat(rates, len(seeds))} if len(rates) > 1 else {}),
        "episode/count": np.ones(rows, int),
        "episode/return": pa.array(values),
    }
    run.write_part(1, pa.table(columns))
    return str(path)


LOW = np.array([1.0, 2.0, 4.0, 3.0, 5.0, 2.5, 3.5, 4.5])
HIGH = LOW + np.array([5.0, 4.0, 6.0, 5.5, 4.5, 5.0, 6.5, 5.0])


@pytest.fixture
def two(tmp_path):
    return [make_run(tmp_path / "low", {0.1: LOW}), make_run(tmp_path / "high", {0.1: HIGH})]


def test_entries_are_compared_with_the_first(two):
    entries = read_entries(two, "episode/return")
    assert [tuple(entry.seeds) for entry in entries] == [tuple(range(8))] * 2
    (contrast,) = contrasts(entries)
    assert contrast.paired
    assert contrast.difference.value == pytest.approx(float(aggregate_iqm(HIGH[:, None]) - aggregate_iqm(LOW[:, None])))
    assert contrast.improvement.value == pytest.approx(float(probability_of_improvement(HIGH[:, None], LOW[:, None])))
    assert contrast.p_value == pytest.approx(paired_test(HIGH, LOW)) == pytest.approx(2 / 2**8)
    assert contrast.difference.low > 0
    assert contrast.needed is not None
    assert contrast.needed <= 8
    (other,) = contrasts(entries[::-1])
    assert other.difference.value == -contrast.difference.value


def test_other_seeds_are_not_paired(two, tmp_path):
    other = make_run(tmp_path / "other", {0.1: HIGH}, seeds=range(10, 18))
    (contrast,) = contrasts(read_entries([two[0], other], "episode/return"))
    assert not contrast.paired
    assert contrast.p_value == pytest.approx(unpaired_test(HIGH, LOW))


def test_p_values_are_corrected_for_their_number(two, tmp_path):
    same = make_run(tmp_path / "same", {0.1: LOW[::-1]})
    first, second = contrasts(read_entries([two[0], two[1], same], "episode/return"))
    assert first.p_value == pytest.approx(2 * 2 / 2**8)
    assert second.p_value == pytest.approx(paired_test(LOW[::-1], LOW))


def test_advice_is_for_the_test_that_was_made(two, tmp_path):
    """Four pairs can't reach 0.05, and two comparisons need one pair more: 2 * 2 / 2**6 > 0.05."""
    few = [make_run(tmp_path / f"few{i}", {0.1: LOW[:4] + shift}) for i, shift in enumerate((0, 100, 200))]
    (alone,) = contrasts(read_entries(few[:2], "episode/return"))
    assert (alone.paired, alone.p_value, alone.needed) == (True, pytest.approx(2 / 2**4), 6)
    both = contrasts(read_entries(few, "episode/return"))
    assert [contrast.needed for contrast in both] == [7, 7]


def test_runs_without_a_value_are_counted(tmp_path):
    broken = HIGH.copy()
    broken[2] = np.nan
    places = [make_run(tmp_path / "low", {0.1: LOW}), make_run(tmp_path / "high", {0.1: broken}, failed=[5])]
    low, high = read_entries(places, "episode/return")
    assert (low.lost, high.lost, len(high.scores)) == (0, 2, 6)
    assert high.seeds == (0, 1, 3, 4, 6, 7)
    assert not contrasts([low, high])[0].paired


def test_one_of_several_configurations_is_chosen_by_its_settings(tmp_path):
    place = make_run(tmp_path / "many", {0.001: LOW, 0.002: HIGH, 0.003: LOW})
    low, high = read_entries(
        [f"{place}:learning_rate=1e-3", f"{place}:learning_rate=0.002,num_envs=8"], "episode/return"
    )
    np.testing.assert_array_equal(low.scores, LOW)
    np.testing.assert_array_equal(high.scores, HIGH)
    by = read_entries([place], "episode/return", ["learning_rate"])
    assert [entry.name for entry in by] == [f"many: learning_rate={rate}" for rate in (0.001, 0.002, 0.003)]
    np.testing.assert_array_equal(by[1].scores, HIGH)


def test_mistakes_are_explained(two, tmp_path):
    place = make_run(tmp_path / "many", {0.001: LOW, 0.002: HIGH})
    with pytest.raises(ValueError, match=r"holds 2 configurations; choose one, such as .*many:learning_rate=0.001"):
        read_entries([place, two[0]], "episode/return")
    with pytest.raises(RunError, match="did you mean 'episode/return'"):
        read_entries(two, "episode/retrun")
    with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
        read_entries([place], "episode/return", ["learning_rat"])
    with pytest.raises(RunError, match=r"no run in .* has learning_rate=0\.5"):
        read_entries([f"{place}:learning_rate=0.5", two[0]], "episode/return")
    with pytest.raises(RunError, match="needs two configurations; there is 1"):
        read_entries(two[:1], "episode/return")
    single = make_run(tmp_path / "single", {0.1: LOW[:1]})
    with pytest.raises(RunError, match="has 1 final values; a comparison needs two seeds"):
        read_entries([single, two[0]], "episode/return")


def test_the_command_says_what_to_believe(two, capsys):
    assert main(["compare", *two]) == 0
    text = capsys.readouterr().out
    assert "8 seeds" in text
    assert "p = 0.00781: they differ" in text
    assert "(80% power); there are 8" in text
    assert "corrected" not in text
    assert main(["compare", *two, two[0]]) == 0
    assert "corrected for 2 comparisons" in capsys.readouterr().out
    assert main(["compare"]) == 2
    assert "which runs?" in capsys.readouterr().err


def test_the_final_values_of_a_folder_are_those_of_the_results(two):
    """A guard against reading the wrong column: the quartiles of what went in."""
    low, _ = read_entries(two, "episode/return")
    assert low.iqm.value == pytest.approx(scipy.stats.trim_mean(LOW, 0.25))
    assert pd.Series(low.scores).tolist() == LOW.tolist()


def test_few_seeds_are_not_taken_for_equality(tmp_path, capsys):
    places = [make_run(tmp_path / name, {0.1: values[:3]}) for name, values in (("low", LOW), ("high", HIGH))]
    assert main(["compare", *places]) == 0
    assert "p = 0.25: so few seeds can't show any" in capsys.readouterr().out


def make_grid(path, scores):
    """A run whose members differ in several names: `scores` are by the values of these, those of each seed."""
    run, names = RunFolder(path), ["learning_rate", "reward.centre", "layers"]
    run.create()
    population = [dict(zip(names, values, strict=False)) for values in scores]
    described = {"config": {"env": "CartPole-v1", "settings": {"num_envs": 8}}, "population": population}
    run.write_config({**described, "seeds": list(range(8)), "iterations": 1, "log_every": 1})
    cell = lambda value: str(list(value)) if isinstance(value, tuple) else value  # noqa: E731
    fixed = {"iteration": 1, "env_steps": 64, "wall_seconds": 1.0, "failed": False, "episode/count": 1}
    rows = [
        {**fixed, "member": member, "seed": seed, **dict(zip(names, map(cell, chosen), strict=False)), "x": value}
        for member, (chosen, values) in enumerate(scores.items())
        for seed, value in enumerate(values)
    ]
    run.write_part(1, pa.Table.from_pandas(pd.DataFrame(rows).rename(columns={"x": "episode/return"})))
    return str(path)


GRID = {(rate, centre): LOW + 100 * rate + centre for rate in (0.1, 0.2) for centre in (0.0, 1.0, 5.0)}


def test_what_else_was_varied_is_held_equal(tmp_path, capsys):
    place = make_grid(tmp_path / "centre", GRID)
    entries = read_entries([place], "episode/return", ["reward.centre"])
    assert [entry.where for entry in entries] == ["learning_rate=0.1"] * 3 + ["learning_rate=0.2"] * 3
    assert [entry.name for entry in entries] == [f"centre: reward.centre={c}" for c in (0.0, 1.0, 5.0)] * 2
    compared = contrasts(entries)
    # Never across learning rates, which are 10 apart; and corrected for all four comparisons.
    np.testing.assert_allclose([each.difference.value for each in compared], [1, 5, 1, 5])
    assert {each.p_value for each in compared} == {4 * 2 / 2**8}
    assert main(["compare", place, "--by", "reward.centre"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("at learning_rate=0.1\n") < printed.index("at learning_rate=0.2\n")
    assert "centre: reward.centre=5.0 against centre: reward.centre=0.0, at learning_rate=0.2" in printed
    assert "corrected for 4 comparisons" in printed


def test_names_that_say_it_all_leave_nothing_else_to_be_equal(tmp_path):
    both = read_entries([make_grid(tmp_path / "grid", GRID)], "episode/return", ["learning_rate", "reward.centre"])
    zipped = make_grid(tmp_path / "zipped", {(0.1, 0.0): LOW, (0.2, 1.0): HIGH})
    assert {entry.where for entry in [*both, *read_entries([zipped], "episode/return", ["learning_rate"])]} == {""}


def test_configurations_that_nothing_is_equal_to_are_named(tmp_path):
    place = make_grid(tmp_path / "odd", {(0.1, 0.0): LOW, (0.1, 1.0): LOW, (0.2, 2.0): LOW})
    with pytest.raises(RunError, match=r"differ in learning_rate alone: there is .*rate=0\.1 at reward\.cen"):
        read_entries([place], "episode/return", ["learning_rate"])


def advised(place, capsys):
    """What the message about several configurations suggests: a reference, and names for `--by`."""
    assert main(["compare", place, place]) == 2
    message = " ".join(capsys.readouterr().err.split())
    example = re.search(r"such as (.*), or tell", message)
    return example and shlex.split(example[1])[0], re.search(r"--by (.*)", message)[1].split()


def runs_of_two_sizes(folder):
    for size in (8, 16):
        run = RunFolder(make_run(folder / str(size), {0.1: LOW}))
        config = run.read_config()
        config["config"]["settings"] = {"layers": [size, size]}
        run.write_config(config)
    return str(folder)


@pytest.mark.parametrize(
    ("make", "condition", "number"),
    [
        (lambda folder: make_grid(folder / "two names", GRID), "", 6),
        (lambda folder: make_grid(folder / "part", GRID), ":learning_rate=0.1", 3),
        (
            lambda folder: make_grid(
                folder / "a:b", {(0.1, 0.0, (8, 8)): LOW, (0.1, 0.0, (8,)): HIGH, (0.2, 0.0, (8, 8)): HIGH}
            ),
            "",
            3,
        ),
        (lambda folder: [make_grid(folder / name, GRID) for name in "ab"] and str(folder), "", 12),
        (runs_of_two_sizes, "", 2),
    ],
    ids=["grid", "part", "brackets", "runs", "settings"],
)
def test_what_is_suggested_is_there(make, condition, number, tmp_path, capsys):
    """A reference to a single configuration, and names that tell all of them apart."""
    place = make(tmp_path) + condition
    example, by = advised(place, capsys)
    entries = read_entries([place], "episode/return", by)
    assert len(entries) == number
    assert {entry.where for entry in entries} == {""}
    assert [len(entry.scores) for entry in read_entries([example, example], "episode/return")] == [8, 8]


def test_a_value_that_can_not_be_typed_is_not_suggested(tmp_path, capsys):
    place = make_grid(tmp_path / "texts", {(0.1, "a,b"): LOW, (0.1, "c,d"): HIGH})
    assert advised(place, capsys) == (None, ["reward.centre"])
    assert len(read_entries([place], "episode/return", ["reward.centre"])) == 2
