"""Released instances from pickles made by hand; what a pickle may do beyond holding data is refused."""

import pickle
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs import make
from jaxreward.envs.subrl.grid import RIGHT, STAY
from jaxreward.envs.subrl.instances import COUNT, read_covariances, read_densities, read_items

ITEMS = {"pears": {4, 0}, "figs": {2}}


def write(folder, instances):
    for number, stored in enumerate(instances):
        (folder / f"env_{number}.pkl").write_bytes(stored if isinstance(stored, bytes) else pickle.dumps(stored))
    return str(folder)


def body(value):
    """What pickles a value, without what begins and ends a pickle."""
    return pickle.dumps(value, 3)[2:-1]


def call(module, name, *arguments):
    return f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR"


def tensor(matrix, strides=None, kind="FloatStorage", module="torch"):
    """A pickled tensor, byte by byte as torch's older format has it."""
    storage = body("storage") + f"c{module}\n{kind}\n".encode() + body("0") + body("cpu") + body(matrix.size) + b"N"
    five = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {})]
    five += [b"\x80\x02(" + storage + b"tQ.", pickle.dumps(["0"], 2)]
    stored = b"".join(five) + struct.pack("<q", matrix.size) + matrix.astype("<f4").tobytes()
    strides = (matrix.shape[1], 1) if strides is None else strides
    load = call("torch.storage", "_load_from_bytes", body(stored))
    rest = [body(x) for x in (0, matrix.shape, strides, False)]
    return b"\x80\x03" + call("torch._utils", "_rebuild_tensor_v2", load, *rest) + b"."


def test_densities_are_read_by_the_cells_numbers(tmp_path):
    written = np.random.default_rng(0).uniform(size=(COUNT, 4))
    folder = write(tmp_path, [{cell: float(row[cell]) for cell in (3, 1, 0, 2)} for row in written])
    np.testing.assert_array_equal(read_densities(folder, 4), written)


def test_items_become_the_kind_of_each_cell_in_the_order_of_the_file(tmp_path):
    folder = write(tmp_path, [ITEMS] * 9 + [dict(reversed(ITEMS.items()))])
    layouts = read_items(folder, 5, 2)
    assert layouts[0].tolist() == [0, -1, 1, -1, 0]
    assert layouts[9].tolist() == [1, -1, 0, -1, 1]


def test_tensors_are_read_without_torch(tmp_path):
    written = np.arange(90, dtype=np.float32).reshape(COUNT, 3, 3) / 7
    found = read_covariances(write(tmp_path, [tensor(matrix) for matrix in written]), 3)
    np.testing.assert_array_equal(found, written)
    assert found.dtype == np.float32


def test_nothing_is_run(tmp_path):
    trace = tmp_path / "trace"
    hostile = b"\x80\x03" + call("pathlib", "Path.touch", call("pathlib", "Path", body(str(trace)))) + b"."
    with pytest.raises(ValueError, match=r"env_0\.pkl holds no instance: it asks for pathlib"):
        read_densities(write(tmp_path, [hostile] * COUNT), 4)
    evaluated = b"\x80\x03" + call("builtins", "eval", body(f"open({str(trace)!r}, 'w')")) + b"."
    with pytest.raises(ValueError, match=r"asks for builtins\.eval"):
        read_densities(write(tmp_path, [evaluated] * COUNT), 4)
    inside = tensor(np.eye(3), module="os", kind="system")
    with pytest.raises(ValueError, match=r"asks for os\.system"):
        read_covariances(write(tmp_path, [inside] * COUNT), 3)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("read", "stored", "message"),
    [
        (lambda f: read_densities(f, 4), {0: 1.0, 1: 1.0}, "weights of 4 cells by their numbers; got dict of 2"),
        (lambda f: read_densities(f, 2), {0: "a", 1: 1.0}, "weights of 2 cells"),
        (lambda f: read_densities(f, 2), [1.0, 2.0], "got list of 2"),
        (lambda f: read_items(f, 5, 3), ITEMS, "each of 3 kinds"),
        (lambda f: read_items(f, 4, 2), ITEMS, "0 to 3"),
        (lambda f: read_items(f, 5, 2), {"pears": {0, 2}, "figs": {2}}, "no cell in two"),
        (lambda f: read_items(f, 5, 2), {"pears": {0}, "figs": 3}, "a set of cells"),
        (lambda f: read_covariances(f, 4), tensor(np.eye(3)), r"4 cells; got ndarray of shape \(3, 3\)"),
        (lambda f: read_covariances(f, 3), tensor(np.eye(3), strides=(1, 3)), "order of its rows"),
        (lambda f: read_covariances(f, 3), tensor(np.eye(3), strides=(900, 900)), "order of its rows"),
        (lambda f: read_covariances(f, 3), tensor(np.eye(3))[:-40], "holds no instance"),
        (lambda f: read_densities(f, 4), b"", "holds no instance"),
    ],
)
def test_other_files_are_refused(tmp_path, read, stored, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path, [stored] * COUNT))


def test_folders_that_lack_a_file_are_refused(tmp_path):
    write(tmp_path, [ITEMS] * (COUNT - 1))
    with pytest.raises(ValueError, match=r"lacks env_9\.pkl: give a folder with env_0\.pkl to env_9\.pkl"):
        read_items(str(tmp_path), 5, 2)


def first_reward(env, params, instance, action=STAY):
    params = params.replace(instance=jnp.asarray(instance, jnp.int32))
    state = env.reset_env(jax.random.key(0), params)[1]
    return env.step_env(jax.random.key(0), state, jnp.int32(action), params)[2]


def test_tasks_take_them(tmp_path):
    weights = np.random.default_rng(1).uniform(1, 2, (COUNT, 900))
    for name in ("densities", "items", "covariances"):
        (tmp_path / name).mkdir()
    folder = write(tmp_path / "densities", [dict(enumerate(row.tolist())) for row in weights])
    env, params = make(f"subrl/gp_coverage?instances={folder}")
    # The walker starts on cell 34 of 30 x 30, whose disc are 34, 35, 64 and 65, and stays there.
    np.testing.assert_allclose(first_reward(env, params, 7), weights[7, [34, 35, 64, 65]].sum(), rtol=1e-6)

    layouts = [{kind: {kind if kind != number % 6 else 34} for kind in range(6)} for number in range(COUNT)]
    env, params = make("subrl/steiner", instances=write(tmp_path / "items", layouts))
    assert np.asarray(env.objectives["kinds"])[:, 34].tolist() == [number % 6 for number in range(COUNT)]
    assert first_reward(env, params, 3) == 1

    matrices = [np.eye(900) * (number + 1) for number in range(COUNT)]
    folder = write(tmp_path / "covariances", [tensor(matrix) for matrix in matrices])
    env, params = make("subrl/design", horizon=3, instances=folder)
    # Two cells of variance 5 that say nothing of each other: twice 0.5 log(1 + 5 / noise).
    np.testing.assert_allclose(first_reward(env, params, 4, RIGHT), np.log(1 + 5 / 1e-6), rtol=1e-6)
