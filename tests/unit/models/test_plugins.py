"""User code by name, and options checked against annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from gossipml.errors import ConfigError
from gossipml.plugins import check_options, load_object, option_names

if TYPE_CHECKING:
    from collections.abc import Callable


def takes(
    x,
    lr: float,
    *,
    steps: int = 1,
    kind: Literal["a", "b"] | None = None,
    sizes: list[int] | None = None,
    rule: Callable | None = None,
    free=None,
):
    """Take one required option and some optional ones."""


class Takes:
    def __init__(self, lr: float = 0.1) -> None:
        self.lr = lr


def test_options_are_converted():
    options = {"lr": 1, "kind": "b", "sizes": (1, 2), "rule": len, "free": "x"}
    checked = check_options(takes, options, "algorithm", frozenset({"x"}))
    assert checked == {"lr": 1.0, "kind": "b", "sizes": [1, 2], "rule": len, "free": "x"}
    assert isinstance(checked["lr"], float)
    assert check_options(Takes, {}, "algorithm") == {}
    assert check_options(lambda **anything: None, {"k": 1}, "data") == {"k": 1}
    assert option_names(Takes) == {"lr"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": "abc"}, "algorithm.lr: found 'abc' (str), expected float"),
        ({"lr": True}, "algorithm.lr: found True (bool), expected float"),
        ({"lr": 1, "kind": "c"}, "algorithm.kind: found 'c' (str), expected 'a' or 'b' or None"),
        ({"lr": 1, "sizes": 3}, "algorithm.sizes: found 3 (int), expected list[int] or None"),
        ({"lr": 1, "step": 3}, "algorithm.step: unknown key; did you mean 'steps'?"),
        ({"lr": 1, "x": 3}, "algorithm.x: unknown key; known: free, kind, lr, rule, sizes, steps"),
        ({}, "algorithm.lr: missing, expected float"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(ConfigError) as refusal:
        check_options(takes, options, "algorithm", frozenset({"x"}))
    assert str(refusal.value) == message


def test_load_object_from_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("class Thing:\n    def method(self): return 7\n")
    assert load_object("mine.py:Thing", base=tmp_path)().method() == 7
    assert load_object(f"{path}:Thing.method")(None) == 7
    path.write_text("Thing = 8\n")
    assert load_object(f"{path}:Thing") == 8  # as it is now, not as it was


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("thing", "found 'thing', expected 'module:name' or 'file.py:name'"),
        ("module:", "expected 'module:name'"),
        ("no_such_module:f", "cannot import 'no_such_module': ModuleNotFoundError"),
        ("..relative:f", "cannot import '..relative': TypeError"),
        ("math:sqr", "math has no 'sqr'; did you mean 'sqrt'?"),
        ("absent.py:f", "no file"),
        ("broken.py:f", "ZeroDivisionError: division by zero"),
    ],
)
def test_load_object_refusals(spec, message, tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError) as refusal:
        load_object(spec, base=tmp_path)
    assert message in str(refusal.value)
