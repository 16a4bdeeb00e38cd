"""The table itself."""

import pytest

from gossipml.wire import Kind, State
from gossipml.wire.states import AFTER_BOTH_HELLOS, TRANSITIONS, why_not


def test_hello_comes_first_and_once():
    assert [kind for kind in Kind if kind in TRANSITIONS[State.IDLE]] == [Kind.HELLO, Kind.ERROR]
    assert Kind.HELLO not in TRANSITIONS[State.OPEN]


def test_bye_and_error_are_last():
    for state in (State.IDLE, State.OPEN):
        for kind, after in TRANSITIONS[state].items():
            assert (after is State.CLOSED) == (kind in (Kind.BYE, Kind.ERROR))
    assert not TRANSITIONS[State.CLOSED]
    assert not TRANSITIONS[State.FAILED]


def test_no_frame_leads_to_failed_or_back_to_idle():
    reached = {after for row in TRANSITIONS.values() for after in row.values()}
    assert reached == {State.OPEN, State.CLOSED}


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        TRANSITIONS[State.IDLE] = {}
    with pytest.raises(TypeError):
        TRANSITIONS[State.IDLE][Kind.DATA] = State.OPEN


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("both_hellos", [False, True])
def test_why_not_says_what_the_table_says(state, kind, both_hellos):
    allowed = kind in TRANSITIONS[state] and (both_hellos or kind not in AFTER_BOTH_HELLOS)
    assert (why_not(state, kind, both_hellos=both_hellos) is None) == allowed
