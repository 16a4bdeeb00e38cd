"""gossipml keys, and what ``peer`` refuses before it begins."""

import dataclasses
import json
import stat

import pytest
from typer.testing import CliRunner

from gossipml import keys, topology
from gossipml.cli.app import app
from gossipml.errors import ConfigError


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def refuse(*words):
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    return str(caught.value)


@pytest.fixture
def ring(tmp_path):
    """A file of a ring of three on loopback; a function that changes it."""

    def write(name="ring.json", **changes):
        graph = topology.make_topology("ring", 3)
        addresses = tuple(f"127.0.0.1:{4000 + i}" for i in range(3))
        path = tmp_path / name
        topology.save_topology(
            dataclasses.replace(graph, **{"addresses": addresses, **changes}), path
        )
        return path

    return write


def test_new_prints_the_key_that_pin_writes(tmp_path, ring):
    said = {i: run("keys", "new", "--id", i, "-o", tmp_path / "k").stdout.strip() for i in "01"}
    assert stat.S_IMODE((tmp_path / "k" / "0.key").stat().st_mode) == 0o600
    before = json.loads(ring().read_text())
    result = run("keys", "pin", ring(), tmp_path / "k", "--out", tmp_path / "out.json")
    assert "2 keys pinned; none yet for 2" in result.stderr
    nodes = json.loads((tmp_path / "out.json").read_text())["nodes"]
    assert [node.pop("public_key", None) for node in nodes] == [said["0"], said["1"], None]
    assert nodes == before["nodes"]
    run("keys", "new", "--id", "2", "-o", tmp_path / "later")
    out = tmp_path / "out.json"
    result = run("keys", "pin", out, tmp_path / "later" / "2.crt", "--out", out)
    assert "1 keys pinned\n" in result.stderr
    assert topology.load_topology(out).public_keys[:2] == (said["0"], said["1"])


def test_pins_are_no_part_of_what_peers_compare(tmp_path, ring):
    run("keys", "new", "--id", "1", "-o", tmp_path / "k")
    run("keys", "pin", ring(), tmp_path / "k", "--out", tmp_path / "out.json")
    digests = set()
    for path in (ring(), tmp_path / "out.json"):
        graph = topology.load_topology(path)
        digests.add(topology.Static(graph, topology.mixing(graph)).digest())
    assert len(digests) == 1


def test_wrong_keys_are_one_line(tmp_path, ring):
    folder = tmp_path / "k"
    run("keys", "new", "--id", "1", "-o", folder)
    assert f"{folder / '1.key'} exists" in refuse("keys", "new", "--id", "1", "-o", folder)
    run("keys", "new", "--id", "x/y", "-o", tmp_path / "x")
    assert (tmp_path / "x" / "x%2Fy.key").exists()
    out = tmp_path / "out.json"
    assert "of peer 'x/y', which" in refuse("keys", "pin", ring(), tmp_path / "x", "--out", out)
    again = refuse("keys", "pin", ring(), folder, folder / "1.crt", "--out", out)
    assert "of peer '1', as is" in again
    (tmp_path / "empty").mkdir()
    for days in (3_000_000, 10**9):
        long = ("keys", "new", "--id", "1", "--days", days, "-o", tmp_path / "long")
        assert f"days: found {days}, which ends after the year 9999" in refuse(*long)
    for id in ("", "a\nb", "\udcff"):  # the last is what a byte that is not UTF-8 becomes
        named = ("keys", "new", "--id", id, "-o", tmp_path / "long")
        assert f"id {id!r}, expected printable characters" in refuse(*named)
    assert not (tmp_path / "long").exists()
    assert "no certificates" in refuse("keys", "pin", ring(), tmp_path / "empty", "--out", out)
    assert "found no certificate" in refuse("keys", "pin", ring(), folder / "1.key", "--out", out)
    assert "cannot hold keys" in refuse("keys", "pin", ring(), folder, "--out", "out.csv")
    assert not out.exists()


def peer(tmp_path, file, *words, id="0"):
    (tmp_path / "e.toml").write_text(f'topology.file = "{file}"\n')
    return refuse("peer", tmp_path / "e.toml", "--id", id, "--out", tmp_path / "run", *words)


def test_plain_text_stays_on_loopback(tmp_path, ring):
    """Whether it would listen or dial beyond; ``--insecure`` goes as far as the socket."""
    far = ring("far.json", addresses=("127.0.0.1:4000", "192.0.2.1:4001", "127.0.0.1:4002"))
    says = "192.0.2.1:4001 is not on loopback, and traffic would be plain text; give --key"
    assert says in peer(tmp_path, far)
    assert says in peer(tmp_path, far, id="1")
    assert "0.0.0.0:4000 is not on loopback" in peer(tmp_path, ring(), "--listen", "0.0.0.0:4000")
    named = ring("named.json", addresses=("localhost:4000", "a.example:1", "[::1]:4002"))
    assert "a.example:1 is not on loopback" in peer(tmp_path, named)
    assert "cannot listen on 192.0.2.1:4001" in peer(tmp_path, far, "--insecure", id="1")
    assert not (tmp_path / "run").exists()


def test_a_key_needs_the_pins_of_all_neighbours(tmp_path, ring):
    folder = tmp_path / "k"
    for id in "012":
        run("keys", "new", "--id", id, "-o", folder)
    pinned = tmp_path / "pinned.json"
    run("keys", "pin", ring(), folder / "0.crt", folder / "1.crt", "--out", pinned)
    key = folder / "0.key"
    assert "peer '2' has no public_key, which --key needs" in peer(tmp_path, pinned, "--key", key)
    run("keys", "pin", pinned, folder, "--out", pinned)
    assert "0.crt: of peer '0', expected '1'" in peer(tmp_path, pinned, "--key", key, id="1")
    key.chmod(0o640)
    (tmp_path / "e.toml").write_text(f'topology.file = "{pinned}"\n')
    for given in (key, folder):
        words = ("peer", tmp_path / "e.toml", "--id", "1", "--key", given, "--listen", "x")
        told = CliRunner().invoke(app, [str(word) for word in words]).stderr
        assert told == f"{key}: others may read it, its mode is 640; expected 600\n"
    key.chmod(0o600)
    assert "--insecure: found beside --key" in peer(tmp_path, pinned, "--key", key, "--insecure")
    assert "none.crt: No such file" in peer(tmp_path, pinned, "--key", folder / "none.key")
    run("keys", "new", "--id", "0", "-o", tmp_path / "other")
    says = peer(tmp_path, pinned, "--key", tmp_path / "other")
    assert "0.key: not the key that the topology pins for peer '0'" in says
    broken = ring("broken.json", public_keys=(None, "AAAA", "AAAA"))
    assert "public_key of peer '1': found 'AAAA'" in peer(tmp_path, broken, "--key", key)
    assert not (tmp_path / "run").exists()
    assert keys.read_certificate(folder / "0.crt").peer == "0"
