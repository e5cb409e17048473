"""Seconds: what each method took by itself, and its part of what several methods share.

    with ledger.user("gradcam", maps=8): ...        what is done here is charged to these maps
    answer = Shared(...)                            made once, timed apart

What is made once for several (a forward, the backward of a class, the gradient of the images, their superpixels) is paid for in
equal parts by all maps that were made from it, no matter which method asked first; and who uses a thing uses what that was
made of. So the seconds of all maps add up to what was spent on them, and a method costs less in company than alone. The
clock is read only where an account begins or ends, when the device has done what it was given: on a GPU calls return before
their work is done.
"""

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from gradfaith.runtime.device import settle

Made = TypeVar("Made")


def clock(device: torch.device) -> float:
    """Seconds, once the device has nothing left to do."""
    settle(device)
    return time.perf_counter()


@dataclass(eq=False)
class Account:
    """What one thing took to make, and the shared things it was made of."""

    seconds: float = 0.0
    parts: list["Account"] = field(default_factory=list)

    def whole(self) -> set["Account"]:
        """Itself and all that it was made of."""
        found, waiting = set[Account](), [self]
        while waiting:
            account = waiting.pop()
            if account not in found:
                found.add(account)
                waiting.extend(account.parts)
        return found


class Ledger:
    """The accounts of one batch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._last = now, 0.0
        self._open: list[Account] = []  # the last one pays
        self._users: list[tuple[Hashable, int, Account]] = []

    @contextmanager
    def account(self, account: Account | None = None) -> Iterator[Account]:
        """What is done in the block is on this account, a new one if not told, and not on the one around it."""
        account = account or Account()
        self._charge()
        self._open.append(account)
        try:
            yield account
        finally:
            self._charge()
            self._open.pop()

    @contextmanager
    def user(self, name: Hashable, maps: int) -> Iterator[None]:
        """A method at work on so many maps."""
        with self.account() as own:
            self._users.append((name, maps, own))
            yield

    def used(self, account: Account) -> None:
        """Whatever is being made is made of this, too."""
        if self._open:
            self._open[-1].parts.append(account)

    def seconds(self) -> dict[Hashable, float]:
        """By user, all told."""
        whole = [(name, maps, own.whole()) for name, maps, own in self._users]
        made: dict[Account, int] = {}
        for _, maps, accounts in whole:
            for account in accounts:
                made[account] = made.get(account, 0) + maps
        return {name: sum(account.seconds * maps / made[account] for account in own) for name, maps, own in whole}

    def _charge(self) -> None:
        now = self._now()
        if self._open:
            self._open[-1].seconds += now - self._last
        self._last = now


class Shared(Generic[Made]):
    """A property of something with a `ledger`: made when first read, kept with its owner, paid for by all who read it."""

    def __init__(self, make: Callable[[Any], Made]) -> None:
        self._make, self._place = make, f"{make.__name__} and its account"

    def __get__(self, owner: Any, _kind: type) -> Made:
        kept, ledger = owner.__dict__, owner.ledger
        if self._place not in kept:
            with ledger.account() as account:
                made = self._make(owner)
            kept[self._place] = made, account
        found: tuple[Made, Account] = kept[self._place]
        ledger.used(found[1])
        return found[0]
