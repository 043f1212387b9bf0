"""The table of a message's states."""

from __future__ import annotations

from streamtask.states import FINAL, TRANSITIONS, legal

STATES = {row.source for row in TRANSITIONS} | {row.target for row in TRANSITIONS}


def test_the_states_are_the_documented_ones() -> None:
    assert {"NONE", "DUE", "WAITING", "HELD", "PARKED", "DONE", "DEAD", "CANCELLED", "EXPIRED"} == STATES
    assert STATES >= FINAL


def test_every_state_can_be_reached() -> None:
    reached, edge = {"NONE"}, {"NONE"}
    while edge:
        edge = {row.target for row in TRANSITIONS if row.source in edge} - reached
        reached |= edge
    assert reached == STATES


def test_every_state_but_a_final_one_can_end() -> None:
    ending = set(FINAL)
    while more := {row.source for row in TRANSITIONS if row.target in ending} - ending:
        ending |= more
    assert ending == STATES


def test_only_an_operator_takes_a_message_out_of_a_final_state() -> None:
    assert {row.by for row in TRANSITIONS if row.source in FINAL} == {"operator"}
    assert {row.source for row in TRANSITIONS if row.source in FINAL} == {"DEAD"}
    assert not any(legal(state, target) for state in ("DONE", "CANCELLED", "EXPIRED") for target in STATES)


def test_a_delivery_moves_only_by_its_holder() -> None:
    """What is waiting can only be read; what is held leaves by the scripts that ask for the token. But what was
    delivered far too often is buried by the janitor, who asks for the token that he saw.
    """
    own = [row for row in TRANSITIONS if row.by != "janitor"]
    assert {row.target for row in own if row.source in ("WAITING", "PARKED")} == {"HELD"}
    leaving = {row.script for row in own if row.source == "HELD" and row.target != "HELD"}
    assert leaving == {"RELEASE", "SETTLE", "DONE or SETTLE", "SETTLE or BURY", "IGNORE"}
    assert {(row.target, row.script) for row in TRANSITIONS if row.by == "janitor"} == {("DEAD", "BURY")}


def test_legal_is_the_table() -> None:
    assert legal("WAITING", "HELD")
    assert legal("HELD", "DUE")
    assert not legal("DUE", "HELD")
    assert not legal("DONE", "WAITING")
    assert not legal("HELD", "NONE")
