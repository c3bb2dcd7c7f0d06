"""The command line from end to end, and what it says to those who get it wrong."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import jaxreward.report
from jaxreward.cli import main
from jaxreward.cli.shell import whole_number
from jaxreward.results.tables import load
from jaxreward.run.job import Job, Setup, asked_for, job_of

SMALL = ["--set", "num_envs=4", "num_steps=16", "num_minibatches=1", "num_epochs=1", "layers=(8,)"]
PPO = "from jaxreward.agents.baselines.ppo import Config, Hyperparams\n"
REWARD = """
def tilted(params, transition):
    return params["weight"] * transition.reward

tilted.params = {"weight": 1.0}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a reward's file and a run with it."""
    home = tmp_path_factory.mktemp("trained")
    (home / "my_reward.py").write_text(REWARD)
    what = ["--env", "CartPole-v1", "--reward", f"{home}/my_reward.py:tilted", "--folder", str(home / "run")]
    how = ["--steps", "320", "--seeds", "2", "--set", "reward.weight=2", "--set", "discount=0.9", "--quiet"]
    code = main(["train", *what, *how, *SMALL])
    assert code == 0
    return home


def failed(capsys, *arguments):
    """The message and exit code of a command that should fail."""
    try:
        code = main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") <= 25
    return captured.err, code


def test_train_leaves_a_run_folder(trained):
    names = {path.name for path in (trained / "run").iterdir()}
    assert names >= {"config.json", "metrics.parquet", "checkpoints", "curves.png", "report.html", "reward.py"}
    assert (trained / "run" / "reward.py").read_text() == REWARD
    frame = load(trained / "run")
    assert frame.groupby(["member", "seed"]).ngroups == 2
    assert frame["env_steps"].max() == 320
    ended = frame[frame["episode/count"] > 0]
    np.testing.assert_allclose(ended["episode/return"], 2 * ended["episode/env_return"], rtol=1e-6)


OBJECTIVE = """
def near(params, ratio, advantage, lifetime):
    return params["strength"] * (ratio - 1) ** 2

near.params = {"strength": 1.0}
"""


def test_a_run_keeps_the_objective_that_it_was_begun_with(tmp_path):
    """And its number is a setting."""
    file, run = tmp_path / "mine.py", str(tmp_path / "run")
    file.write_text(OBJECTIVE)
    what = ["--env", "CartPole-v1", "--objective", f"{file}:near", "--folder", run, "--quiet"]
    assert main(["train", *what, "--steps", "64", *SMALL, "--set", "objective.strength=3"]) == 0
    assert (tmp_path / "run" / "code" / "objective" / "mine.py").read_text() == OBJECTIVE
    hyperparams = job_of(run).experiment().hyperparams
    assert hyperparams.objective["strength"].tolist() == [3.0]
    file.write_text(OBJECTIVE.replace("near", "far"))
    with pytest.warns(UserWarning, match=r"the objective .*mine.py has changed since the run began"):
        assert main(["train", "--resume", "--folder", run, "--steps", "128", "--quiet"]) == 0


def test_evaluate_reads_the_newest_checkpoint(trained, capsys):
    assert main(["evaluate", str(trained / "run"), "--seed", "1", "--episodes", "6", "--render"]) == 0
    text = capsys.readouterr().out
    assert "6 episodes of member 0, seed 1" in text
    means = {name: float(x) for name, x in re.findall(r"^  (return|length|environment's return) +(\S+)", text, re.M)}
    assert means["environment's return"] == means["length"]  # as it is in CartPole
    assert means["return"] == pytest.approx(2 * means["length"], rel=1e-3)  # printed in 4 digits
    assert (trained / "run" / "episode.gif").read_bytes()[:3] == b"GIF"
    assert main(["evaluate", str(trained / "run"), "--episodes", "2", "--stochastic"]) == 0


def test_a_run_is_evaluated_with_the_reward_it_kept(trained, tmp_path, capsys, monkeypatch):
    shutil.copytree(trained / "run", tmp_path / "run")
    mine = trained / "my_reward.py"
    try:
        mine.write_text(REWARD.replace("transition.reward", "0.0"))
        with pytest.warns(UserWarning, match=r"my_reward\.py has changed since the run began \(my_reward\.py\)"):
            assert main(["evaluate", str(tmp_path / "run"), "--episodes", "2"]) == 0
    finally:
        mine.write_text(REWARD)
    numbers = re.findall(r"^  (?:return|length) +(\S+)", capsys.readouterr().out, re.M)
    assert float(numbers[0]) == pytest.approx(2 * float(numbers[1]), rel=1e-3)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of another user"))
    for command in (["evaluate", "--episodes", "1"], ["train", "--quiet", "--resume", "--folder"]):
        message, code = failed(capsys, *command, str(tmp_path / "run"))
        assert code == 2
        assert "was not begun here by you" in message
        assert "say --trust" in message
    assert main(["train", "--quiet", "--trust", "--resume", "--folder", str(tmp_path / "run")]) == 0


def test_report_is_written_where_asked(trained, capsys):
    assert main(["report", str(trained / "run"), str(trained / "run"), "--out", str(trained / "page.html")]) == 0
    assert "run (2)" in (trained / "page.html").read_text()
    assert capsys.readouterr().out.strip() == str(trained / "page.html")


def test_resume_needs_only_the_folder_and_may_grow(trained, capsys):
    assert main(["train", "--resume", "--folder", str(trained / "run"), "--steps", "384"]) == 0
    captured = capsys.readouterr()
    assert "environment's return" in captured.out
    assert load(trained / "run")["env_steps"].max() == 384


def test_existing_runs_and_other_configurations_are_refused(trained, capsys):
    folder = str(trained / "run")
    message, code = failed(capsys, "train", "--env", "CartPole-v1", "--steps", "100", "--folder", folder)
    assert code == 2
    assert "already holds a run" in message


@pytest.mark.parametrize(("asked", "lines"), [
    ("--set learning_rate=3", ["hyperparams.learning_rate: [0.0003] -> [3.0]"]),
    ("--set num_envs=8 discount=0.9", ["config.num_envs: 4 -> 8"]),
    ("--set reward.weight=1", ["hyperparams.reward.weight: 2.0 -> 1.0"]),
    ("--reward sparse --agent lirpg", ["agent: ppo -> lirpg", "reward: {home}/my_reward.py:tilted -> sparse"]),
    ("--env Acrobot-v1", ["env: CartPole-v1 -> Acrobot-v1"]),
    ("--log-every 7", ["log_every: 1 -> 7"]),
    ("--seeds 1", ["seeds: [0, 1] -> [0]"]),
    ("--steps 64", ["steps: {steps} -> 64 (may only grow)"]),
])  # fmt: skip
def test_what_a_resume_cannot_do_is_refused(trained, capsys, asked, lines):
    before = (trained / "run" / "config.json").read_bytes()
    message, code = failed(capsys, "train", "--resume", "--folder", str(trained / "run"), *asked.split())
    assert code == 2
    head, *listed = message.splitlines()
    assert "another configuration (there -> asked for)" in head
    known = {"home": trained, "steps": job_of(trained / "run").steps}
    assert [line.strip() for line in listed] == [line.format(**known) for line in lines]
    assert (trained / "run" / "config.json").read_bytes() == before


def test_what_a_run_has_already_may_be_said_again(trained, capsys):
    same = ["--env", "CartPole-v1", "--agent", "ppo", "--reward", f"{trained}/my_reward.py:tilted", "--seeds", "2"]
    same += [*SMALL, "discount=0.90", "reward.weight=2", "learning_rate=3e-4", "--steps", "384", "--log-every", "1"]
    assert main(["train", "--resume", "--folder", str(trained / "run"), *same, "--quiet"]) == 0
    assert load(trained / "run")["env_steps"].max() == 384


def test_a_setting_that_differs_between_members_is_not_set(tmp_path):
    job = Job(Setup(settings={"num_envs": 4}), tmp_path, 1, ({"discount": 0.9}, {"discount": 0.8}))
    assert asked_for(job, settings={"discount": 0.9}) == ["discount: 0.9, 0.8 -> 0.9"]
    assert asked_for(job, named={"env": "CartPole-v1"}, settings={"clip": 0.2, "num_envs": 4}, seeds=(0,)) == []


def test_what_only_an_environments_factory_sees_is_compared_too(tmp_path):
    (tmp_path / "poles.py").write_text("import gymnax\ndef pole(size=3):\n    return gymnax.make('CartPole-v1')\n")
    job = Job(Setup(env=f"{tmp_path}/poles.py:pole", settings={"env.size": 3}), tmp_path, 1)
    assert asked_for(job, settings={"env.size": 3, "env.gravity": 9.8}) == []
    assert asked_for(job, settings={"env.size": 4}) == ["config.env.size: 3 -> 4"]
    assert asked_for(job, settings={"env.gravity": 5}) == ["hyperparams.gravity: 9.8 -> 5.0"]


@pytest.mark.parametrize("arguments", [
    "train --env CartPole-v1 --steps 10", "sweep --env CartPole-v1 --steps 10 --grid discount=0.9",
    "search --env CartPole-v1 --steps 10 --space clip=uniform(0.1,0.2)",
])  # fmt: skip
def test_only_new_and_empty_folders_are_begun_in(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("jaxreward.run.chunk.Program.compile", lambda *_: pytest.fail("compiled"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "report.html").write_text("mine")
    message, code = failed(capsys, *arguments.split(), "--folder", str(tmp_path / "home"))
    assert code == 2
    assert "is not empty: it has report.html" in message
    message, code = failed(capsys, *arguments.split(), "--folder", "")
    assert code == 2
    assert "a path needs a name" in message
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["report.html"]
    assert (tmp_path / "home" / "report.html").read_text() == "mine"


def test_a_run_without_a_finite_number_fails(tmp_path, capsys):
    arguments = [
        "--env",
        "CartPole-v1",
        "--steps",
        "64",
        *SMALL,
        "learning_rate=inf",
        "--folder",
        str(tmp_path / "run"),
    ]
    with pytest.warns(Warning, match="no longer finite"):
        message, code = failed(capsys, "train", *arguments)
    assert code == 1
    assert "no run's numbers stayed finite" in message
    assert "not finite" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("train --steps 10", "which environment"),
        ("train --env CartPole-v1", "how many environment steps"),
        ("train --env CartPol-v1 --steps 10", "did you mean 'CartPole-v1'"),
        ("train --env CartPole-v1 --steps 10 --agent pp0", "did you mean 'ppo'"),
        ("train --env CartPole-v1 --steps 10 --reward sprase", "did you mean 'sparse'"),
        ("train --env CartPole-v1 --steps 10 --reward nowhere.py:f", "no reward file 'nowhere.py'"),
        ("train --env CartPole-v1 --steps 10 --objective dpoo", "did you mean 'dpo'"),
        ("train --env CartPole-v1 --steps 10 --objective ta_lpo --set lifetime=0", "asks how much of the lifetime"),
        (
            "train --env CartPole-v1 --steps 10 --objective dpo --agent a2c",
            "a2c has no setting 'objective'; agents that have it: ppo",
        ),
        ("train --env CartPole-v1 --steps 10 --objective dpo --set objective=ppo", "given twice"),
        ("train --env CartPole-v1 --steps 10 --set learning_rat=1", "did you mean 'learning_rate'"),
        ("train --env CartPole-v1 --steps 10 --set discount=0.9 --set discount=0.8", "given twice"),
        ("train --env CartPole-v1 --steps 10 --set num_minibatches=7", "does not divide"),
        ("train --env CartPole-v1 --steps 10 --set num_envs=4,8", "sweep --grid"),
        ("train --env CartPole-v1 --steps 0", "steps must be positive"),
        ("train --env CartPole-v1 --steps ten", "'ten' is no whole number"),
        ("train --env CartPole-v1 --steps 10 --seeds -1", "seeds"),
        ("train --resume", "--resume needs --folder"),
        ("train --resume --folder nowhere", "not a run folder"),
        ("train --env CartPole-v1 --steps 10 --from 3", "--from needs --resume"),
        ("train --resume --folder nowhere --from 3", "not a run folder"),
        ("train --env CartPole-v1 --steps 10 --folder /dev/null/run", "can't write"),
        ("report nowhere", "not a run folder"),
        ("report", "which run folders"),
        ("evaluate nowhere", "not a run folder"),
        (
            "train --env CartPole-v1 --steps 10 --reward nowhere.py",
            "nowhere.py is a file; say what in it is the reward",
        ),
        ("train --env CartPole-v1 --steps 10 --agent nowhere.py", "say what in it is the agent, as nowhere.py:NAME"),
        ("train --env nowhere.py --steps 10", "say what in it is the environment, as nowhere.py:NAME"),
        ("sweep .", ". is a folder, not a TOML file"),
        ("search .", ". is a folder, not a TOML file"),
        ("train --stepz 10", "no option of jaxreward train '--stepz'; did you mean '--steps'?"),
        ("results --formt=csv", "no option of jaxreward results '--formt'; did you mean '--format'?"),
        ("trian", "train"),
    ],
)
def test_mistakes_are_one_message(arguments, expected, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    message, code = failed(capsys, *arguments.split())
    assert code == 2
    assert expected in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("reward", "import sys\nsys.exit(3)\n"),
        ("reward", "import sys\ndef reward(transition):\n    sys.exit(3)\n"),
        ("reward", "import sys\ndef reward():\n    sys.exit(3)\n"),
        ("env", "import sys\ndef env():\n    sys.exit(3)\n"),
        ("agent", "import sys\nsys.exit(3)\n"),
        ("agent", f"import sys\n{PPO}def agent(*arguments):\n    sys.exit(3)\n"),
    ],
)
def test_a_file_that_ends_the_program_is_a_mistake_in_it(what, text, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(text)
    options = {"env": "CartPole-v1", what: f"{tmp_path}/mine.py:{what}"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    message, code = failed(capsys, "train", *words, "--steps", "8", "--folder", str(tmp_path / "run"))
    assert code == 2
    assert re.search(rf"SystemExit at {re.escape(str(tmp_path))}/mine\.py:\d: 3", message)


def test_a_file_alone_is_no_reward_and_what_there_is_in_it_is_named(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("a = 1\n_b = 2\ndef gain(t):\n    raise SystemExit\n")
    message, code = failed(
        capsys, "train", "--env", "CartPole-v1", "--steps", "8", "--reward", str(tmp_path / "mine.py")
    )
    assert code == 2
    assert f"say what in it is the reward, as {tmp_path}/mine.py:NAME; there are: gain, a" in message


def test_the_place_of_an_error_is_shown_when_asked(capsys):
    assert main(["evaluate", "nowhere", "--traceback"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_errors_of_our_own_are_one_message_too(capsys, monkeypatch):
    scope = {}
    code = "def broken(*_, **__): raise IndexError('list index out of range')"
    exec(compile(code, jaxreward.report.__file__, "exec"), scope)
    monkeypatch.setattr("jaxreward.report.report", scope["broken"])
    message, code = failed(capsys, "report", "runs")
    assert code == 1
    assert message == "jaxreward: failed: IndexError: list index out of range (--traceback shows where)\n"


def test_errors_of_the_users_code_are_theirs_with_file_and_line(capsys, monkeypatch):
    def broken(*_, **__):
        raise IndexError("list index out of range")

    monkeypatch.setattr("jaxreward.report.report", broken)
    message, code = failed(capsys, "report", "runs")
    line = broken.__code__.co_firstlineno + 1
    assert (message, code) == (f"jaxreward: error: IndexError at {__file__}:{line}: list index out of range\n", 2)


def test_an_interrupt_says_how_to_go_on(capsys, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxreward.run.job.train", interrupted)
    folder = str(tmp_path / "my run")
    message, code = failed(capsys, "train", "--env", "CartPole-v1", "--steps", "10", "--folder", folder, "--quiet")
    assert code == 130
    assert f"jaxreward train --resume --folder '{folder}'" in message


def test_list_names_what_there_is(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for name in ("ppo", "learning_rate = 0.0003", "num_envs = 64", "CartPole-v1", "brax/ant", "sparse"):
        assert name in text


def test_help_and_list_do_not_import_a_simulator():
    program = (
        "import sys, contextlib\n"
        "from jaxreward.cli import main\n"
        "main(['list'])\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "sys.exit(any(name in sys.modules for name in ('brax', 'mujoco', 'mujoco_playground')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_steps_are_rounded_aloud(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxreward.run.job.train", stop)
    main(["train", "--env", "CartPole-v1", "--steps", "5000", "--seeds", "3"])
    message = capsys.readouterr().err
    assert "3 runs of 8,192 environment steps (5,000 rounded up" in message
    assert re.search(r"-> runs/CartPole-v1-ppo-\d{8}-\d{6}\n", message)


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("serene", "emitters take about as many besides, and the first population takes 5,000)"),
        ("novelty_search", "there are fewer where some end early)"),
    ],
)
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_steps_that_may_be_others_are_said_to_be(agent, said, command, capsys, monkeypatch, tmp_path):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxreward.run.job.train", stop)
    main([command, "--agent", agent, "--env", "qd/point2d", "--steps", "25000", "--set", "budget=2000"])
    message = capsys.readouterr().err
    assert said in message
    assert "50,000 environment steps (25,000 rounded up to whole iterations of 50,000)" in message


def test_whole_numbers_are_read_as_people_write_them():
    assert [whole_number(text) for text in ("2e5", "200_000", "-1", "1.0")] == [200_000, 200_000, -1, 1]
    for text in ("1.5", "inf", "nan", ""):
        with pytest.raises(ValueError, match="is no whole number"):
            whole_number(text)
