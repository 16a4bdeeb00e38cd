"""Sweeps with real processes: killed and gone on with, failing cells, a Dask cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import gossipml
from gossipml import sweeping
from gossipml.errors import ConfigError
from gossipml.observe.sweeps import read_sweep
from gossipml.sweeping import split_values

AXES = ["--set", "algorithm.lr=0.05,0.2", "--set", "topology.graph=ring,complete", "--seeds", "2"]


def write(folder):
    path = folder / "tiny.toml"
    path.write_text(
        "name = 'tiny'\nrounds = 6\nbaselines = false\n[topology]\ngraph = 'ring'\npeers = 4\n"
        "[data]\nsource = 'iris'\n"
    )
    return path


@pytest.fixture
def file(tmp_path):
    return write(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = subprocess.run(command(write(folder), folder / "out", "--json", "-q"),
                          capture_output=True, timeout=120, check=True)  # fmt: skip
    said = json.loads(done.stdout)
    assert (said["cells"], said["done"], said["skipped"], said["failed"]) == (8, 8, 0, 0)
    return folder / "out"


def command(file, out, *more):
    return [sys.executable, "-m", "gossipml", "sweep", str(file), *AXES, "--out", str(out), *more]


def finished(out):
    if not (out / "sweep.json").exists():
        return []
    return [cell for cell in read_sweep(out).cells if cell.status == "finished"]


def test_commas_split_outside_brackets_and_quotes():
    assert split_values("0.1,0.2") == ["0.1", "0.2"]
    assert split_values("[1,2],[3]") == ["[1,2]", "[3]"]
    assert split_values('"a,b",c') == ['"a,b"', "c"]
    assert split_values("one") == ["one"]


def test_a_sweep_killed_half_way_ends_with_the_same_table(file, whole, tmp_path):
    out = tmp_path / "killed"
    killed = subprocess.Popen(command(file, out, "--workers", "1"), stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while len(finished(out)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait(timeout=30)
    there = len(finished(out))
    assert 3 <= there < 8
    assert not (out / "table.csv").exists()
    again = subprocess.run(command(file, out, "--json", "-q"),
                           capture_output=True, timeout=120, check=True)  # fmt: skip
    said = json.loads(again.stdout)
    assert said["skipped"] >= there
    assert said["skipped"] + said["done"] == 8
    assert (out / "table.csv").read_bytes() == (whole / "table.csv").read_bytes()
    assert not list(out.glob("cells/*.part"))


def test_ctrl_c_keeps_what_is_finished(file, tmp_path):
    out = tmp_path / "stopped"
    process = subprocess.Popen(command(file, out, "--workers", "1"), stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, text=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while not finished(out) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--out {out} goes on" in said
    assert "unfinished" in (out / "table.csv").read_text()


def test_a_cell_that_fails_is_a_row(file, tmp_path):
    with ThreadPoolExecutor(2) as threads:
        result = gossipml.sweep(
            file, {"algorithm.lr": [0.1, 1e30], "model.name": ["linear", "softmax"]},
            overrides=["rounds=40", "data.source=diabetes", "data.partition=iid"],
            executor=threads, out=tmp_path / "out",
        )  # fmt: skip
    rows = {(row["algorithm.lr"], row["model.name"]): row for row in result.table}
    assert rows[0.1, "linear"]["status"] == "finished"
    assert rows[1e30, "linear"]["status"] == "failed"
    assert "diverged" in rows[1e30, "linear"]["reason"]
    assert "class labels" in rows[0.1, "softmax"]["reason"]
    assert (result.failed, result.exit_code) == (3, 1)


def test_a_wrong_value_is_refused_before_anything_runs(file, tmp_path):
    with pytest.raises(ConfigError, match=r"data: test_fraction is 2"):
        gossipml.sweep(file, {"data.test_fraction": [0.1, 2]}, out=tmp_path / "out")
    for key, message in (
        ("algorithm.lrr", "algorithm.lrr: unknown key; did you mean 'lr'"),
        ("topology.graph", "unknown graph 'rnig'; did you mean 'ring'"),
        ("topology.degre", "topology.degre: unknown key"),
    ):
        with pytest.raises(ConfigError, match=message):
            gossipml.sweep(file, {key: ["rnig", "ring"] if "graph" in key else [1, 2]},
                           out=tmp_path / "out")  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_the_folder_of_another_sweep_is_refused(file, tmp_path):
    with ThreadPoolExecutor(1) as threads:
        gossipml.sweep(file, seeds=1, executor=threads, out=tmp_path / "out")
        with pytest.raises(ConfigError, match="holds another sweep, its seeds differs"):
            gossipml.sweep(file, seeds=2, executor=threads, out=tmp_path / "out")


def test_the_table_is_read_by_others(file, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    with ThreadPoolExecutor(1) as threads:
        result = gossipml.sweep(
            file, {"algorithm.lr": [0.1, 0.2]}, executor=threads, out=tmp_path / "out"
        )
    table = parquet.read_table(tmp_path / "out/table.parquet")
    assert table.column_names == result.columns
    assert table["algorithm.lr"].to_pylist() == [0.1, 0.2]
    found = gossipml.compare([tmp_path / "out"])
    assert len(found.table) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_of_two_processes(file, whole, tmp_path):
    pytest.importorskip("distributed")
    more = ["--cluster", "dask", "--workers", "2", "--json", "-q"]
    done = subprocess.run(command(file, tmp_path / "dask", *more), capture_output=True, timeout=180)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["done"] == 8
    assert (tmp_path / "dask/table.csv").read_bytes() == (whole / "table.csv").read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_of_the_user(file, tmp_path, monkeypatch):
    """A scheduler and two workers that run already, each a process of its own."""
    pytest.importorskip("distributed")
    known = tmp_path / "scheduler.json"
    parts = [
        ["scheduler", "--host", "tcp://127.0.0.1", "--port", "0", "--no-dashboard",
         "--scheduler-file", known],
        *2 * [["worker", "--scheduler-file", known, "--nthreads", "1", "--no-dashboard",
               "--local-directory", tmp_path / "dask", "--host", "127.0.0.1"]],
    ]  # fmt: skip
    cluster = []
    try:
        for part in parts:
            cluster.append(
                subprocess.Popen(
                    [sys.executable, "-m", "distributed.cli.dask_" + part[0], *map(str, part[1:])],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            deadline = time.monotonic() + 60
            while not known.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        address = json.loads(known.read_text())["address"]
        more = ["--cluster", address, "--json", "-q"]
        done = subprocess.run(
            command(file, tmp_path / "out", *more), capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()
        said = json.loads(done.stdout)
        assert (said["done"], said["failed"]) == (8, 0)
        assert len(finished(tmp_path / "out")) == 8
        assert [process.poll() for process in cluster] == [None] * 3  # it is the user's to end
    finally:
        for process in cluster:
            process.kill()
            process.wait()
    monkeypatch.setattr(sweeping, "JOIN_S", 1)
    with pytest.raises(ConfigError, match=f"--cluster: found '{address}', cannot be joined"):
        gossipml.sweep(file, cluster=address, out=tmp_path / "more")
