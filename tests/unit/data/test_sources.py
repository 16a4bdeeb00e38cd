"""Every kind of source, and what is said about those that cannot be used."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from gossipml.data import SOURCES, Dataset, from_arrays, load_source, source_options
from gossipml.errors import ConfigError, DataError, MissingExtraError
from gossipml.models import make_model


@pytest.mark.parametrize(
    ("name", "shape", "classes", "loader"),
    [
        ("digits", (1797, 64), 10, "load_digits"),
        ("breast-cancer", (569, 30), 2, "load_breast_cancer"),
        ("wine", (178, 13), 3, "load_wine"),
        ("iris", (150, 4), 3, "load_iris"),
        ("diabetes", (442, 10), None, "load_diabetes"),
    ],
)
def test_bundled(name, shape, classes, loader):
    from sklearn import datasets

    data = load_source(name, dtype="float64")
    assert (data.X.shape, data.classes, data.name) == (shape, classes, name)
    assert load_source(name).X.dtype == np.float32
    X, y = getattr(datasets, loader)(return_X_y=True)
    if name == "digits":
        np.testing.assert_array_equal(data.X, X / 16)
    else:
        np.testing.assert_allclose(data.X, (X - X.mean(0)) / X.std(0), atol=1e-9)
    if classes is None:
        np.testing.assert_allclose(data.y, (y - y.mean()) / y.std())
    else:
        np.testing.assert_array_equal(data.y, y)


def test_bundled_needs_scikit_learn(monkeypatch):
    monkeypatch.setattr("gossipml.data.bundled.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gossipml\[standard\]'"):
        load_source("digits")


def test_bundled_does_not_import_scikit_learn():
    import subprocess

    code = (
        "import sys, gossipml.data as d; d.load_source('digits'); print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("source", "options", "model", "model_options"),
    [
        ("quadratics", {}, "quadratic", {}),
        ("quadratics", {"peers": 1, "dimension": 1, "mu": 0.1, "L": 0.1}, "quadratic", {}),
        ("least-squares", {}, "linear", {}),
        ("logistic", {}, "softmax", {"l2": 1e-3}),
        ("logistic", {"classes": 5, "noise": 0.1, "l2": 0.1}, "softmax", {"l2": 0.1}),
        ("logistic", {"samples": 90, "margin": 50.0, "l2": 1e-5}, "softmax", {"l2": 1e-5}),
    ],
)
def test_the_optimum_has_zero_gradient(source, options, model, model_options, dtype):
    data = load_source(source, seed=5, dtype=dtype, **options)
    assert data.X.dtype == dtype
    fitting = make_model(model, data.features, data.classes, "float64", **model_options)
    gradient = fitting.gradient(data.optimum, data.X, data.y)
    assert np.abs(gradient).max() < 1e-8


def test_synthetic_sources_are_functions_of_the_seed():
    for name in ("quadratics", "least-squares", "logistic"):
        first, again, other = (load_source(name, seed=seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first.X, again.X)
        np.testing.assert_array_equal(first.y, again.y)
        assert not np.array_equal(first.X, other.X)


def test_quadratics():
    data = load_source("quadratics", dtype="float64", peers=5, dimension=4, mu=0.1, L=3)
    spectrum = np.linalg.eigvalsh(data.X)
    np.testing.assert_allclose(spectrum[:, 0], 0.1)
    np.testing.assert_allclose(spectrum[:, -1], 3)
    np.testing.assert_array_equal(data.groups, range(5))
    fewer = load_source("quadratics", dtype="float64", peers=3, dimension=4, mu=0.1, L=3)
    np.testing.assert_array_equal(fewer.X, data.X[:3])
    same = load_source("quadratics", heterogeneity=0)
    assert np.ptp(same.y, axis=0).max() == 0


def test_quadratics_with_noise():
    """The samples of a bowl have its centre as their mean, and exactly the variance asked for."""
    options = {"dtype": "float64", "peers": 4, "dimension": 3}
    plain = load_source("quadratics", **options)
    noisy = load_source("quadratics", **options, draws=8, noise=2.0)
    np.testing.assert_array_equal(noisy.X, np.repeat(plain.X, 8, axis=0))
    np.testing.assert_array_equal(noisy.groups, np.repeat(range(4), 8))
    centres = noisy.y.reshape(4, 8, 3)
    np.testing.assert_allclose(centres.mean(axis=1), plain.y, atol=1e-14)
    np.testing.assert_allclose(centres.var(axis=1), 4.0)
    np.testing.assert_allclose(noisy.optimum, plain.optimum)
    with pytest.raises(ConfigError, match="data.draws: found 1, expected at least 2"):
        load_source("quadratics", noise=1.0)


def test_from_arrays():
    data = from_arrays([1.0, 2.0, 3.0], ["b", "a", "b"], groups=["x", "y", "x"])
    assert (data.X.shape, data.classes, data.y.tolist()) == ((3, 1), 2, [1, 0, 1])
    assert data.groups.tolist() == [0, 1, 0]
    assert from_arrays([[1.0]] * 2, [-1, 1]).y.tolist() == [0, 1]
    assert from_arrays([[1.0]] * 2, np.array(["b", "a"], object)).y.tolist() == [1, 0]
    assert from_arrays([[1.0]] * 2, [True, False]).y.tolist() == [1, 0]
    assert from_arrays([[1.0]] * 2, [0, 3]).classes == 4
    numbers = from_arrays([[1.0]] * 2, [0, 3], task="regression", dtype="float64")
    assert (numbers.classes, numbers.y.dtype) == (None, np.float64)
    assert from_arrays([[1.0]] * 2, [[0.5], [0.5]]).y.shape == (2,)
    assert from_arrays([[1.0]] * 2, [[0.5, 1], [0.5, 1]]).y.shape == (2, 2)
    assert from_arrays([[1.0]] * 2, [0.5, 1.5], task="classification").classes == 2


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([[1.0]], [0, 1], "arrays: found X of shape (1, 1) and y of shape (2,)"),
        ([[1.0], [np.nan]], [0, 1], "X has a value that is not a finite number in row 1"),
        ([[1.0], [1e300]], [0, 1], "X has a value that is not a finite number in row 1"),
        ([[1.0], [1.0]], [0.5, np.inf], "y has a value that is not a finite number in row 1"),
        ([["a"], ["b"]], [0, 1], "data: arrays: X is not an array of numbers"),
        ([[1.0], [1.0]], [[0], [1, 2]], "data: arrays: y is not an array: setting"),
        ([[1.0], [1.0]], [None, 1], "y is an array of object, expected numbers or text"),
        ([[1.0], [1.0]], [np.nan, 1.0], "y has a value that is not a finite number in row 0"),
        (np.zeros((0, 3)), [], "found X of shape (0, 3), expected (samples, features)"),
        ([[1.0], [1.0]], [3, 52000], "data.task: arrays: found whole numbers up to 52000"),
    ],
)
def test_arrays_that_cannot_be_used(X, y, message):
    with pytest.raises(DataError) as refusal:
        from_arrays(X, y)
    assert message in str(refusal.value)


def test_dataset_checks_labels_and_groups():
    X = np.zeros((2, 1))
    with pytest.raises(DataError, match="label 2 in row 1 is outside 0 to 1"):
        Dataset(X, np.array([0, 2]), 2, "d")
    with pytest.raises(DataError, match="found labels .2,. of float64, expected .N,. of integers"):
        Dataset(X, np.zeros(2), 2, "d")
    with pytest.raises(DataError, match="found X of int64, expected floats"):
        Dataset(X.astype(int), np.zeros(2), None, "d")
    with pytest.raises(DataError, match="found groups .3,. of int64, expected .2,."):
        Dataset(X, np.zeros(2), None, "d", np.arange(3))


def test_take_drops_the_optimum_and_keeps_the_groups():
    data = load_source("quadratics", peers=4).take([3, 1])
    assert data.optimum is None
    assert data.groups.tolist() == [3, 1]
    assert data.features == (10, 10)


@pytest.mark.parametrize("name", ["quadratics", "logistic", "least-squares"])
def test_save_and_load(name, tmp_path):
    data = load_source(name, dtype="float64")
    data.save(tmp_path / "data.npz")
    for again in (
        Dataset.load(tmp_path / "data.npz"),
        load_source(tmp_path / "data.npz", dtype="float64"),
    ):
        for field in ("X", "y", "groups", "optimum", "classes", "name"):
            np.testing.assert_array_equal(getattr(again, field), getattr(data, field))
    assert load_source("data.npz", base=tmp_path).X.dtype == np.float32
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]


def test_save_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "data.npz"
    load_source("quadratics").save(path)
    before = path.read_bytes()

    def fail(*args, **arrays):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        load_source("logistic").save(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["data.npz"]


FILES = {
    "a.csv": "p,q,kind\n1,2,cat\n3,4,dog\n\n5,6,cat\n",
    "regress.csv": "p,y,who\n1,0.5,ann\n2,1.5,bob\n3,2.5,ann\n",
    "whole.csv": "p,y\n1,10\n2,20\n",
    "a.jsonl": '{"p": 1, "q": 2, "y": 0}\n\n{"q": 4, "p": 3, "y": 1}\n',
    "a.svm": "+1 1:0.5 3:2 # note\n-1 qid:3 2:1\n",
    "bad.csv": "p,q,y\n1,2,0\n1,high,1\n",
    "ragged.csv": "p,q,y\n1,2,0\n1,2\n",
    "empty.csv": "",
    "header.csv": "p,y\n",
    "lonely.csv": "y\n1\n",
    "bad.jsonl": '{"p": 1, "y": 0}\n{"p": null, "y": 0}\n',
    "cut.jsonl": '{"p": 1, "y": 0}\n{"p": 1\n',
    "list.jsonl": "[1, 2]\n",
    "missing.jsonl": '{"p": 1, "y": 0}\n{"y": 0}\n',
    "bad.svm": "1 1:x\n",
    "index.svm": "1 0:1\n",
    "none.svm": "# nothing\n",
    "label.svm": "x 1:1\n",
    "bad.npz": "not a zip file",
    "users.py": "import numpy as np\n"
    "def pair(seed, scale: float = 1.0): return np.full((4, 2), scale), [seed, 0, 1, 0]\n"
    "def one(): return 3\n"
    "def broken(): return np.zeros((2, 2)), [[0], [1, 2]]\n"
    "def fails(): return 1 / 0\n"
    "number = 3\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("data")
    for name, text in FILES.items():
        (made / name).write_text(text)
    (made / "bytes.csv").write_bytes(b"p,y\n\xff,1\n")
    np.savez(made / "a.npz", X=np.eye(3), y=np.array([0, 1, 1]), groups=np.array([2, 0, 0]))
    np.savez(made / "half.npz", X=np.eye(3))
    np.savez(made / "pickled.npz", X=np.array([{}]), y=np.zeros(1))
    return made


def test_files(folder):
    data = load_source("a.csv", base=folder)
    assert (data.X.tolist(), data.y.tolist()) == ([[1, 2], [3, 4], [5, 6]], [0, 1, 0])
    assert (data.name, data.classes, data.groups) == ("a", 2, None)
    data = load_source("regress.csv", base=folder, target="y", group="who", dtype="float64")
    assert (data.X.tolist(), data.y.tolist()) == ([[1], [2], [3]], [0.5, 1.5, 2.5])
    assert (data.classes, data.groups.tolist()) == (None, [0, 1, 0])
    assert load_source("regress.csv", base=folder, group="who").classes is None
    assert load_source("whole.csv", base=folder).classes == 21
    assert load_source("whole.csv", base=folder, task="regression").y.tolist() == [10, 20]
    data = load_source(folder / "a.jsonl")
    assert (data.X.tolist(), data.y.tolist()) == ([[1, 2], [3, 4]], [0, 1])
    data = load_source("a.svm", base=folder)
    assert (data.X.tolist(), data.y.tolist()) == ([[0.5, 0, 2], [0, 1, 0]], [1, 0])
    assert load_source("a.svm", base=folder, task="regression").y.tolist() == [1, -1]
    data = load_source("a.npz", base=folder)
    assert (data.y.tolist(), data.groups.tolist(), data.classes) == ([0, 1, 1], [2, 0, 0], 2)
    assert load_source("a.npz", base=folder, task="regression").classes is None


def test_users_function(folder):
    data = load_source("users.py:pair", seed=1, base=folder, scale=3)
    assert (data.X[0, 0], data.y.tolist(), data.name) == (3, [1, 0, 1, 0], "pair")
    assert source_options("users.py:pair", base=folder) == {"scale"}


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("digit", {}, ConfigError, "data.source: unknown source 'digit'; did you mean 'digits'?"),
        ("a.xls", {}, ConfigError, "or a file (.npz, .csv, .jsonl, .svm, .libsvm), or 'module:"),
        ("digits", {"sedd": 1}, ConfigError, "data.sedd: unknown key"),
        ("digits", {"dtype": "int8"}, ConfigError, "data.dtype: found 'int8', expected 'float32'"),
        ("quadratics", {"L": 0.1}, ConfigError, "data.mu: found mu 0.5 and L 0.1, expected 0 < mu"),
        ("quadratics", {"peers": 0}, ConfigError, "data.peers: found 0, expected at least 1"),
        ("quadratics", {"peers": "x"}, ConfigError, "data.peers: found 'x' (str), expected int"),
        (
            "least-squares",
            {"samples": 9},
            ConfigError,
            "data.samples: found 9, expected at least 21",
        ),
        ("logistic", {"l2": 0}, ConfigError, "data.l2: found 0.0, expected a number above 0"),
        (
            "logistic",
            {"noise": 2},
            ConfigError,
            "data.noise: found 2.0, expected a number in [0, 1]",
        ),
        ("absent.csv", {}, DataError, "data.source: no file"),
        ("absent.npz", {}, DataError, "data.source: no file"),
        ("a.csv", {"target": "king"}, DataError, "has no column 'king'; did you mean 'kind'?"),
        ("a.csv", {"group": "x"}, DataError, "data.group:"),
        ("a.csv", {"tagret": "q"}, ConfigError, "data.tagret: unknown key; did you mean 'target'?"),
        ("bad.csv", {}, DataError, "bad.csv, row 3, column 'q': found 'high', expected a number"),
        ("ragged.csv", {}, DataError, "ragged.csv, row 3: found 2 columns, expected 3"),
        ("empty.csv", {}, DataError, "empty.csv has no rows of data"),
        ("header.csv", {}, DataError, "header.csv has no rows of data"),
        ("lonely.csv", {}, DataError, "lonely.csv has no columns beside 'y'"),
        ("a.csv", {"task": "regression"}, DataError, "row 2, column 'kind': found 'cat'"),
        ("bytes.csv", {}, DataError, "data.source: cannot read"),
        (".", {}, ConfigError, "data.source: unknown source '.'"),
        ("bad.jsonl", {}, DataError, "bad.jsonl, row 2, column 'p': found None, expected a number"),
        ("cut.jsonl", {}, DataError, "cut.jsonl, row 2: not JSON"),
        ("list.jsonl", {}, DataError, "list.jsonl, row 1: found [1, 2], expected an object"),
        ("missing.jsonl", {}, DataError, "missing.jsonl, row 2: column 'p' is missing"),
        ("bad.svm", {}, DataError, "bad.svm, row 1, column '1': found 'x', expected a number"),
        ("index.svm", {}, DataError, "index.svm, row 1: found '0:1', expected index:value"),
        ("none.svm", {}, DataError, "none.svm has no rows of data"),
        ("label.svm", {"task": "regression"}, DataError, "label.svm, row 1, column 'label'"),
        ("bad.npz", {}, DataError, "bad.npz is not a readable .npz file"),
        ("half.npz", {}, DataError, "half.npz holds ['X'], expected 'y' too"),
        ("pickled.npz", {}, DataError, "pickled.npz is not a readable .npz file"),
        ("users.py:one", {}, DataError, "returned int, expected (X, y) or a Dataset"),
        ("users.py:broken", {}, DataError, "broken: y is not an array"),
        ("users.py:fails", {}, DataError, "'users.py:fails' raised ZeroDivisionError: division"),
        ("users.py:number", {}, ConfigError, "'users.py:number' is int, expected a function"),
        ("users.py:pairs", {}, ConfigError, "users.py has no 'pairs'; did you mean 'pair'?"),
        ("absent.py:pair", {}, ConfigError, "no file"),
    ],
)
def test_refusals(folder, source, options, error, message):
    with pytest.raises(error) as refusal:
        load_source(source, base=folder, **options)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_dataset_is_its_own_source():
    data = load_source("iris")
    assert load_source(data) is data
    assert source_options(data) == frozenset()
    with pytest.raises(ConfigError, match="data.alpha: unknown key"):
        load_source(data, alpha=1)


def test_every_source_has_a_docstring():
    assert all(function.__doc__ for function in SOURCES.values())
