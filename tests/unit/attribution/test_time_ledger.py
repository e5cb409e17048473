"""Who pays for what: shared things in equal parts by every map made from them, whoever came first."""

import pytest

from gradfaith.attribution.time_ledger import Account, SharedProperty, TimeLedger


class Bench:
    """Work of stated length, on a clock that stands still otherwise."""

    def __init__(self) -> None:
        self.time, self.made = 0.0, list[str]()
        self.ledger = TimeLedger(lambda: self.time)

    def work(self, seconds: float) -> None:
        self.time += seconds

    @SharedProperty
    def forward(self) -> str:
        self.work(8)
        self.made.append("forward")
        return "logits"

    @SharedProperty
    def backward(self) -> str:
        self.work(4)
        self.made.append("backward")
        return f"gradient of {self.forward}"


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "a", "b"), ("b", "c", "a")])
def test_no_matter_who_comes_first(order: tuple[str, ...]) -> None:
    """a reads the backward, b the forward, both have work of their own; c shares nothing."""
    bench = Bench()
    for name in order:
        with bench.ledger.charge_maps(name, maps=2):
            bench.work(1)
            if name == "a":
                assert bench.backward == bench.backward == "gradient of logits"
            if name == "b":
                assert bench.forward == "logits"
    assert bench.ledger.seconds() == {"a": 1 + 4 + 8 / 2, "b": 1 + 8 / 2, "c": 1}
    assert sorted(bench.made) == ["backward", "forward"]


def test_parts_are_of_maps_not_of_methods() -> None:
    bench = Bench()
    for name, maps in (("many", 6), ("few", 2)):
        with bench.ledger.charge_maps(name, maps):
            assert bench.backward
    assert bench.ledger.seconds() == {"many": 9, "few": 3}


def test_an_account_may_be_added_to_later() -> None:
    """Superpixels of more images, for the second target."""
    bench, cuts = Bench(), Account()
    for name, seconds in (("first", 3.0), ("second", 1.0)):
        with bench.ledger.charge_maps(name, maps=1):
            with bench.ledger.account(cuts):
                bench.work(seconds)
            bench.ledger.record_use(cuts)
    assert bench.ledger.seconds() == {"first": 2, "second": 2}


def test_what_is_done_between_methods_is_nobody_s_and_what_fails_is_paid() -> None:
    bench = Bench()
    bench.work(100)
    with pytest.raises(ZeroDivisionError), bench.ledger.charge_maps("one", maps=1):
        bench.work(2)
        raise ZeroDivisionError
    bench.work(100)
    with bench.ledger.charge_maps("two", maps=1):
        bench.work(3)
    assert bench.ledger.seconds() == {"one": 2, "two": 3}
