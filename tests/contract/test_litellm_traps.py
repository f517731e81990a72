"""Where LiteLLM surprises whoever manages it by program. Each trap has a test with its number in the name, or a reason why it cannot bite here."""

from __future__ import annotations

import re

import pytest

from tree import ROOT

TRAPS = {
    1: "/key/list gives bare hashes unless asked for objects",
    2: "lists are paged, and a page of more than a hundred is refused",
    3: "an address is found by any part of it, and so is a name that is asked for alone",
    4: "each call has an envelope of its own",
    5: "/user/info ignores an address and gives the caller",
    6: "a key is read back as its hash alone, and must not be in an address",
    7: "defaults of the server look like drift",
    8: "counters and time stamps look like drift",
    9: "numbers lose their last digit",
    10: "moments are written in several forms, and an end is counted from when a call arrives",
    11: "an end is read as a moment and written as a duration",
    12: "the gateway's own administrator is a user and a member of each team",
    13: "a second create echoes the new values and keeps the old row",
    14: "a taken alias is refused",
    15: "an own key must begin with sk- and have sixteen characters",
    16: "users and teams that do not exist are accepted",
    17: "unknown fields are ignored, wrong types refused",
    18: "a limit goes by an explicit null alone",
    19: "metadata is replaced as a whole",
    20: "tags at top level need a licence",
    21: "a key of a team without models of its own",
    22: "an empty text as team breaks an update",
    23: "some versions want a budget's period again with each update",
    24: "a key cannot be regenerated without a licence",
    25: "a delete lists what was asked and not what was there",
    26: "a deleted key works on in the caches of other workers for up to a minute",
    27: "value and alias of a deleted key can be made again",
    28: "keys leak by way of names, errors and results",
    29: "a new user gets a key that nobody asked for",
    30: "a taken address is refused",
    31: "an update makes a user of an unknown name",
    32: "an empty list of a user's models is dropped",
    33: "deleting a user takes the keys without a copy",
    34: "a taken name of a team is an internal error by its type",
    35: "who is in a team already, or no more, is refused",
    36: "a member's budget goes by null and not by nothing or zero",
    37: "a user's own list of teams and the members of teams disagree",
    38: "deleting a team deletes its keys",
    39: "a budget that does not exist is answered with null",
    40: "deleting a budget leaves its keys without limits",
    41: "what was just made is not shown at once",
    42: "several workers restart for ever when they need long to start",
    43: "workers outlive a killed parent",
    44: "without a database at its start the gateway ends",
    45: "a master key that everybody knows is refused",
    46: "a database that goes away is noticed late",
    47: "idle connections to a model are closed under the gateway's hands",
    48: "/health asks every model",
    49: "the name of a migration has spaces",
    50: "switching the admin page off does not close it",
    51: "without compiled files each start takes long",
}
RUNNING = "is about running the gateway, which is the matter of roles/litellm; the modules only speak to one that runs."
WITHOUT_A_TEST = {
    26: "lies in the gateway's cache, which no management call empties on another worker; this platform runs one worker, for which"
    " the scenario shows that a deleted key is refused at once.",
    **dict.fromkeys((42, 43, 44, 45, 46, 47, 48, 49, 50, 51), RUNNING),
}


def names_by_trap():
    found = {}
    for path in [*(ROOT / "tests" / "unit").rglob("*.py"), *(ROOT / "molecule").glob("litellm*/tests/*.py")]:
        for name in re.findall(r"^def ((?:test_)?trap_\d+(?:_and_\d+)*_\w+)\(", path.read_text(), re.MULTILINE):
            for number in re.match(r"(?:test_)?trap_(\d+(?:_and_\d+)*)_", name).group(1).split("_and_"):
                found.setdefault(int(number), []).append(name)
    return found


@pytest.mark.parametrize("number", TRAPS)
def test_each_trap_has_a_test_or_a_reason_for_none(number):
    assert (number in names_by_trap()) != (number in WITHOUT_A_TEST), TRAPS[number]


def test_no_test_is_named_after_a_trap_that_is_not_in_the_list():
    assert set(names_by_trap()) <= set(TRAPS)
