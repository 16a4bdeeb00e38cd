"""Methods of the user's own, and what is commonly wrong with them: one line on every engine."""

from __future__ import annotations

import pytest

from gossipml.errors import AlgorithmError, ConfigError
from gossipml.experiment import experiment_from
from gossipml.simulation import simulate

METHODS = """
from dataclasses import dataclass
from gossipml import Algorithm, average


class Good(Algorithm):
    def round(self, s, problem):
        (mixed,) = yield average(s.x)
        s.x = mixed - self.lr * problem.gradient(mixed)


@dataclass(kw_only=True)
class Tuned(Good):
    gamma: float = 0.5


class NoRound(Algorithm):
    pass


class Bare(Algorithm):
    def round(self, s, problem):
        (s.x,) = yield s.x


class Packed(Algorithm):
    def round(self, s, problem):
        s.x = yield average(s.x)


class Cut(Algorithm):
    def round(self, s, problem):
        (m,) = yield average(s.x)
        s.x = m[..., :3]


class Raises(Algorithm):
    def round(self, s, problem):
        (s.x,) = yield average(s.x)
        raise ZeroDivisionError("oh")
"""


@pytest.fixture
def play(tmp_path, monkeypatch):
    (tmp_path / "methods_of_mine.py").write_text(METHODS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def go(name, engine="virtual", **options):
        return simulate(
            experiment_from({
                "rounds": 3, "baselines": False, "data": {"source": "iris"},
                "algorithm": {"name": name, "lr": 0.1, **options},
            }),
            engine=engine,
        )  # fmt: skip

    return go


ENGINES = pytest.mark.parametrize("engine", ["virtual", "stacked"])


@pytest.mark.parametrize("where", ["methods_of_mine", "methods_of_mine.py"])
def test_it_runs_on_every_engine_with_the_same_bits(play, where):
    hashes = [play(f"{where}:Good", engine).summary.model_sha256 for engine in
              ("virtual", "stacked")]  # fmt: skip
    assert hashes[0] == hashes[1]


@ENGINES
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("NoRound", ConfigError, r"has no method round, expected def round\(self, s, problem\)"),
        ("Bare", ConfigError, r"yielded ndarray, expected average\(…\)"),
        ("Packed", AlgorithmError, r"left tuple in s.x in round 0, expected an array"),
        ("Cut", AlgorithmError, r"left an array \(3,\) in s.x in round 0, expected an array"),
        ("Raises", AlgorithmError, r"failed in round 0: ZeroDivisionError: oh"),
    ],
)
def test_what_is_wrong_is_said_in_the_same_line(play, engine, name, error, message):
    with pytest.raises(error, match=message) as caught:
        play(f"methods_of_mine.py:{name}", engine)
    assert "\n" not in str(caught.value)


def test_fields_of_a_plain_class_are_no_options(play):
    with pytest.raises(ConfigError, match=r"algorithm.gamma: unknown key; is @dataclass"):
        play("methods_of_mine.py:Good", gamma=0.5)
    play("methods_of_mine.py:Tuned", gamma=0.5)
    with pytest.raises(ConfigError, match=r"algorithm.gama: unknown key; did you mean 'gamma'"):
        play("methods_of_mine.py:Tuned", gama=0.5)


def test_a_name_far_from_all_others_says_how_to_name_ones_own(play):
    with pytest.raises(ConfigError, match=r'"file.py:Class" is your own'):
        play("MyWonderfulThing")
