"""Groups of runs that differ in nothing but their seed, with a short name for each.

Statistics are taken over the seeds of a group.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from gossipml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gossipml.observe.trials import Trial

ALL = "all runs"
"""The label of a group that is the only one."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs with the same settings.

    Attributes
    ----------
    label
        What differs from the other groups, such as ``topology.graph=ring, algorithm.lr=0.03``.
    short
        The same in fewer words, for figures and narrow tables.
    varied
        The settings that differ between the groups, as words, by dotted key.
    repeated
        Runs left out because the group had their seed already: the same run twice is no
        evidence.
    """

    label: str
    short: str
    settings: Mapping[str, Any]
    varied: Mapping[str, str]
    trials: tuple[Trial, ...]
    repeated: tuple[Trial, ...] = ()

    @property
    def finished(self) -> list[Trial]:
        """The runs that count for the statistics, by seed."""
        return [trial for trial in self.trials if trial.status == "finished"]


def group(trials: Sequence[Trial]) -> list[Group]:
    """Put trials with equal settings together, in order of appearance.

    Where somebody named the groups of the trials, these count instead.

    Raises
    ------
    ConfigError
        If there are none.
    """
    if not trials:
        raise ConfigError("found nothing to compare; expected at least one run")
    together: dict[str, list[Trial]] = {}
    for trial in trials:
        together.setdefault(_key(_identity(trial)), []).append(trial)
    members = list(together.values())
    varied = _varied([_identity(runs[0]) for runs in members])
    shorts = _shorts(varied)
    labels = shorts if all(trial.group for trial in trials) else _labels(varied)
    return [
        _group(runs, label, short, words)
        for runs, label, short, words in zip(members, labels, shorts, varied, strict=True)
    ]


def heading(groups: Sequence[Group]) -> str:
    """Return what the short names are values of, where it is one key: ``topology.graph``."""
    keys = {key for one in groups for key in one.varied}
    return keys.pop() if len(keys) == 1 else ""


def _group(runs: list[Trial], label: str, short: str, words: dict[str, str]) -> Group:
    by_seed: dict[int, Trial] = {}
    # Of two runs of one seed the one that finished tells more; sorted() keeps the order else.
    for trial in sorted(runs, key=lambda trial: trial.status != "finished"):
        by_seed.setdefault(trial.seed, trial)
    kept = tuple(by_seed[seed] for seed in sorted(by_seed))
    left_out = tuple(trial for trial in runs if trial is not by_seed[trial.seed])
    return Group(
        label=label or ALL, short=short or ALL, settings=runs[0].settings, varied=words,
        trials=kept, repeated=left_out,
    )  # fmt: skip


def _identity(trial: Trial) -> Mapping[str, Any]:
    return trial.settings if trial.group is None else {"group": trial.group}


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _varied(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return for each group the settings that are not the same in all, as words."""
    keys = dict.fromkeys(key for one in settings for key in one)
    differ = [key for key in keys if len({_key({"": one.get(key)}) for one in settings}) > 1]
    full = {k for k in differ if _ambiguous([one[k] for one in settings if k in one])}
    return [
        {key: words(one[key], full=key in full) for key in differ if key in one} for one in settings
    ]


def words(value: Any, *, full: bool = False) -> str:
    """Return a setting in few words; of a path the last part, of a number 6 digits, unless full.

    >>> words({"name": "cosine", "rounds": 100}), words(0.03), words("graphs/geant.json")
    ('cosine(rounds=100)', '0.03', 'geant.json')
    """
    if isinstance(value, dict):
        rest = ", ".join(f"{k}={words(v, full=full)}" for k, v in value.items() if k != "name")
        name = str(value.get("name", ""))
        return f"{name}({rest})" if rest else name
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if full else f"{value:.6g}"
    if isinstance(value, str) and not full:
        return PurePath(value).name or value
    return str(value)


def _ambiguous(values: Sequence[Any]) -> bool:
    """Whether different values would become the same words."""
    return len({words(v) for v in values}) < len({words(v, full=True) for v in values})


def _labels(varied: Sequence[Mapping[str, str]]) -> list[str]:
    """Name every key that a group has; and those that it lacks, where it takes them to differ."""
    plain = [", ".join(f"{k}={v}" for k, v in one.items()) for one in varied]
    if len(varied) == 1 or (all(plain) and len(set(plain)) == len(plain)):
        return plain
    keys = dict.fromkeys(key for one in varied for key in one)
    return [", ".join(f"{k}={one.get(k, 'unset')}" for k in keys) for one in varied]


def _shorts(varied: Sequence[Mapping[str, str]]) -> list[str]:
    """Leave the sections out of the keys, and a single key as well: the values tell."""
    keys = list(dict.fromkeys(key for one in varied for key in one))
    if len(keys) == 1:
        return [one.get(keys[0], "unset") for one in varied]
    last = {key: key.removesuffix(".name").rpartition(".")[2] for key in keys}
    names = {k: v if list(last.values()).count(v) == 1 else k for k, v in last.items()}
    return _labels([{names[k]: v for k, v in one.items()} for one in varied])
