"""What TensorBoard and Weights & Biases are given when a run has ended, read back from the files."""

import struct
import sys
import types

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from jaxreward.results.tracking import track_episode, track_results
from jaxreward.run.store import RunFolder


def events(folder):
    """All values in the event files of a folder: a length of 8 bytes, its checksum, a message, its checksum."""
    found = []
    for path in sorted(folder.glob("events*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            found += [(event.step, value) for value in event.summary.value]
            data = data[16 + length :]
    return {value.tag: (step, value) for step, value in found}


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create()
    population, seeds = [{"learning_rate": 0.1}, {"learning_rate": 0.2}], [0, 1, 2, 3]
    config = {"agent": "ppo", "env": "Pole", "reward": "goal", "agent_config": {"layers": [8], "centring": False}}
    hyperparams = {"learning_rate": [0.1, 0.2], "lifetime": ["inf", "inf"]}
    described = {"config": config, "hyperparams": hyperparams, "population": population, "seeds": seeds}
    run.write_config({**described, "iterations": 10, "finished": 10, "id": "abc"})
    returns = np.array([1.0, 2.0, 6.0, 50.0, 10.0, 20.0, 60.0, 500.0])  # interquartile means of 4 and 40
    columns = {
        "iteration": [10] * 8,
        "env_steps": [400] * 8,
        "member": np.repeat([0, 1], 4),
        "seed": seeds * 2,
        "failed": [False] * 8,
        "learning_rate": np.repeat([0.1, 0.2], 4),
        "episode/return": returns,
        "episode/env_return": returns + 1,
        "episode/count": [1] * 8,
    }
    run.write_part(10, pa.table(columns))
    return run


@pytest.fixture
def wandb(monkeypatch):
    calls = []

    class Session:
        def log(self, values):
            calls.append(values)

        def finish(self):
            calls.append("finish")

    fake = types.ModuleType("wandb")
    fake.init = lambda **given: (calls.append(given), Session())[1]
    fake.Table = lambda dataframe: dataframe
    fake.Video = lambda path, format: (path, format)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return calls


def test_each_configuration_has_its_settings_beside_its_final_values(run):
    track_results(run.path)
    found = events(run.tensorboard / "1_learning_rate=0.2")
    step, value = found["final/episode/env_return"]
    assert (step, value.simple_value) == (400, 41.0)
    content = found["_hparams_/session_start_info"][1].metadata.plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["learning_rate"].number_value == 0.2
    assert (told["lifetime"].string_value, told["layers"].string_value, told["env"].string_value) == (
        "inf",
        "[8]",
        "Pole",
    )
    assert told["centring"].bool_value is False
    table = events(run.tensorboard / "mean")["final/episode/return/text_summary"][1].tensor.string_val[0].decode()
    best, worse = table.splitlines()[4:6]
    assert best.startswith("| 1 | 0.2 | 4 |")
    assert worse.startswith("| 0 | 0.1 | 4 |")


def test_a_run_without_rows_has_nothing_to_track(tmp_path):
    new = RunFolder(tmp_path / "new")
    new.create()
    new.write_config({"config": {}, "population": [{}], "seeds": [0], "iterations": 5})
    track_results(new.path)
    assert not list(new.tensorboard.rglob("events*"))


def test_tables_and_animations_go_to_weights_and_biases_too(run, wandb):
    track_results(run.path, "mine")
    session, values, end = wandb
    assert (session["project"], session["id"], session["resume"]) == ("mine", "abc", "allow")
    assert list(values["final/episode/env_return"]["member"]) == [1, 0]
    assert end == "finish"
    drawn = run.path / "episode.gif"
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    frames[0].save(drawn, save_all=True, append_images=frames[1:])
    track_episode(run.path, drawn, "mine")
    assert wandb[4] == {"episode": (str(drawn), "gif")}
    step, value = events(run.tensorboard / "mean")["episode"]
    assert (step, value.image.width, value.image.height) == (400, 20, 10)
    assert value.image.encoded_image_string == drawn.read_bytes()
    track_episode(run.path, run.path / "episode.html", "mine")
    assert len(wandb) == 6
