"""Measure the seconds of each method: its own time, and its share of the results that several methods use.

    with ledger.charge_maps("gradcam", maps=8): ...     charge the time of this block to these maps
    SharedProperty                                      a property computed once and timed separately

The time of a shared result (a forward, the backward of a class, the gradient of the images, their superpixels) is
divided equally among all maps that use it, regardless of which method used it first. A map that uses a result also uses
the results behind it. So the seconds of all maps add up to the time spent on them, and a method costs less in a bundle
than alone. The clock is read only when an account opens or closes, after the device has finished its work: on a GPU,
calls return before their work is done.
"""

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from gradfaith.runtime.device import synchronise

Value = TypeVar("Value")


def clock(device: torch.device) -> float:
    """Return the time in seconds, after the device has finished its work."""
    synchronise(device)
    return time.perf_counter()


@dataclass(eq=False)
class Account:
    """The seconds that one result took to compute, and the accounts of the shared results that it uses."""

    seconds: float = 0.0
    parts: list["Account"] = field(default_factory=list)

    def with_parts(self) -> set["Account"]:
        """Return this account and all accounts that it uses, directly or indirectly."""
        accounts, waiting = set[Account](), [self]
        while waiting:
            account = waiting.pop()
            if account not in accounts:
                accounts.add(account)
                waiting.extend(account.parts)
        return accounts


class _Charge(NamedTuple):
    """A running method and its maps."""

    name: Hashable
    maps: int
    account: Account


class TimeLedger:
    """The accounts of one batch of images."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._last = now, 0.0
        self._open: list[Account] = []  # the last one is charged
        self._charges: list[_Charge] = []

    @contextmanager
    def account(self, account: Account | None = None) -> Iterator[Account]:
        """Charge the time of the block to this account (default: a new one) instead of the account around it."""
        account = account or Account()
        self._charge()
        self._open.append(account)
        try:
            yield account
        finally:
            self._charge()
            self._open.pop()

    @contextmanager
    def charge_maps(self, name: Hashable, maps: int) -> Iterator[None]:
        """Charge the time of the block to a method's maps; `maps` is their number."""
        with self.account() as account:
            self._charges.append(_Charge(name, maps, account))
            yield

    def record_use(self, account: Account) -> None:
        """Record that the result being computed uses this account's result."""
        if self._open:
            self._open[-1].parts.append(account)

    def seconds(self) -> dict[Hashable, float]:
        """Return the seconds by name, shared time included."""
        used = [(charge.name, charge.maps, charge.account.with_parts()) for charge in self._charges]
        maps_of: dict[Account, int] = {}
        for _, maps, accounts in used:
            for account in accounts:
                maps_of[account] = maps_of.get(account, 0) + maps
        return {
            name: sum(account.seconds * maps / maps_of[account] for account in accounts)
            for name, maps, accounts in used
        }

    def _charge(self) -> None:
        now = self._now()
        if self._open:
            self._open[-1].seconds += now - self._last
        self._last = now


class SharedProperty(Generic[Value]):
    """A property of an object with a `ledger`. It is computed once, and all maps that use it share its time."""

    def __init__(self, make: Callable[[Any], Value]) -> None:
        self._make, self._key = make, f"{make.__name__} and its account"

    def __get__(self, owner: Any, _kind: type) -> Value:
        attributes, ledger = owner.__dict__, owner.ledger
        if self._key not in attributes:
            with ledger.account() as account:
                result = self._make(owner)
            attributes[self._key] = result, account
        stored: tuple[Value, Account] = attributes[self._key]
        ledger.record_use(stored[1])
        return stored[0]
