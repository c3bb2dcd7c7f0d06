"""Presets: each that is shipped can be trained, and a name that is none says which is near."""

import tomllib

import pytest

from jaxreward.agents.registry import get_agent
from jaxreward.cli.train import Train, _job
from jaxreward.envs.registry import make
from jaxreward.run.preset import Preset, list_presets, read_preset
from jaxreward.sweep import read_sweep

PPO = "classic/cartpole-ppo"


@pytest.mark.parametrize("name", list_presets())
def test_what_is_shipped_names_what_exists(name):
    preset = read_preset(name)
    setup = read_sweep(preset.table).setup
    spec = get_agent(setup.agent)
    known = {*spec.config_defaults(), *spec.hyperparam_defaults()}
    assert preset.about
    assert {n for n in setup.settings if not n.startswith(("env.", "reward."))} <= known
    assert make(setup.env)


@pytest.mark.parametrize(
    ("name", "polyak"),
    [
        ("ant-sac", 0.99),
        ("halfcheetah-sac", 0.995),
        ("hopper-sac", 0.95),
        ("halfcheetah-td3", 0.99),
        ("hopper-td3", 0.95),
    ],
)
def test_targets_move_as_far_in_an_iteration_as_those_of_rejax(name, polyak):
    """What is left of them after all updates is what rejax 0.1.3 leaves, which moves them once."""
    settings = read_preset(f"brax/{name}").table["settings"]
    assert (1 - settings["target_step"]) ** settings["num_updates"] == pytest.approx(polyak, rel=1e-5)


def test_a_preset_is_a_run_and_options_replace_what_it_says(tmp_path):
    said = read_preset(PPO).table
    job = _job(Train(file=PPO, folder=tmp_path))
    assert (job.setup.agent, job.setup.env, job.steps) == (said["agent"], said["env"], said["steps"])
    assert job.seeds == tuple(range(said["seeds"]))
    assert job.setup.settings == said["settings"]
    other = _job(Train(file=PPO, folder=tmp_path, steps=7, seeds=2, set=(("discount=0.5",), ("num_envs=3",))))
    assert (other.steps, other.seeds) == (7, (0, 1))
    assert other.setup.settings == {**said["settings"], "discount": 0.5, "num_envs": 3}


def test_a_users_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('env = "Acrobot-v1"\nsteps = 64\nabout = "mine"\n[measured]\nsteps_per_second = 2\n')
    assert read_preset(str(file)) == Preset({"env": "Acrobot-v1", "steps": 64}, "mine", {"steps_per_second": 2})
    assert _job(Train(file=str(file), folder=tmp_path / "run")).setup.env == "Acrobot-v1"


def test_one_that_varies_something_is_a_sweep(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('env = "Acrobot-v1"\nsteps = 64\n[grid]\nclip = [0.1, 0.2]\n')
    with pytest.raises(ValueError, match=rf"{file} varies clip: `jaxreward sweep {file}`"):
        _job(Train(file=str(file), folder=tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("classic/cartpol-ppo", r"no preset 'classic/cartpol-ppo'; did you mean 'classic/cartpole-ppo'\?"),
        ("nowhere", r"no preset 'nowhere'\. `jaxreward list presets`"),
        ("nowhere.toml", "there is no file nowhere.toml"),
    ],
)
def test_a_name_that_is_none(name, message):
    with pytest.raises(ValueError, match=message):
        read_preset(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("measured = 3", r"expected about = \"TEXT\" and a table \[measured\], not '' and 3"),
        ("about = 3", "expected about"),
        ('[measured]\nsteps_per_second = "fast"', "steps_per_second = 'fast'; expected a positive number"),
        ("[measured]\nsteps_per_second = 0", "expected a positive number"),
        ("[measured]\nsteps_per_secund = 1", "did you mean 'steps_per_second'"),
    ],
)
def test_what_it_says_of_itself_has_a_form(text, message, tmp_path):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_preset(str(tmp_path / "mine.toml"))


def test_a_resumed_run_reads_no_file():
    with pytest.raises(ValueError, match=f"reads no file; leave out {PPO}"):
        _job(Train(file=PPO, resume=True))


@pytest.mark.parametrize(("rate", "told"), [(60, "about 2 min at 60"), (1, "about 2.0 h at 1 "), (7200, "about 1 s")])
def test_how_long_it_took(rate, told):
    measured = tomllib.loads(f'machine = "2 cores"\nsteps_per_second = {rate}')
    text = Preset({}, "", measured).time_told(steps=3600, seeds=2)
    assert text.startswith(told)
    assert text.endswith("steps/s, as measured on 2 cores")
    assert not Preset({}).time_told(3600, 2)
