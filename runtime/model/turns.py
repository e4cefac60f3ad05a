"""Turns between clients, so that one that sends much does not keep the others waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def by_turns(waiting: Sequence[_Item], client: Callable[[_Item], str], under_way: Iterable[str]) -> list[_Item]:
    """What waits, a turn of each client after the other; `under_way` are the clients of what is worked on already.

    Of one client, and between clients of whom as much is ahead, the order stays as it is.
    """
    ahead = Counter(under_way)
    places = list[int]()
    for item in waiting:
        places.append(ahead[client(item)])
        ahead[client(item)] += 1
    order = sorted(range(len(waiting)), key=places.__getitem__)
    return [waiting[index] for index in order]
