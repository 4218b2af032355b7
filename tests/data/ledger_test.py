import json

import pytest

from danlu.data.ledger import BUCKETS, DETAILS, REASONS, Ledger
from danlu.errors import DanluError


def filled() -> Ledger:
    ledger = Ledger(trained=5, held_out=2, divided=1)
    for _ in range(11):
        ledger.count()
    ledger.truncate(by=7)
    ledger.drop("empty", "a.txt", 3)
    ledger.drop("not JSON", "b.jsonl", 4)
    return ledger


def test_sums_match() -> None:
    assert filled().check().rows == 11


@pytest.mark.parametrize("change", [{"trained": 4}, {"held_out": 3}, {"read": 12}, {"trained": -1, "held_out": 8}])
def test_a_lost_or_doubled_row_is_found(change: dict[str, int]) -> None:
    ledger = filled()
    for name, value in change.items():
        setattr(ledger, name, value)
    with pytest.raises(DanluError, match="E1230"):
        ledger.check()


def test_json_both_ways() -> None:
    data = json.loads(json.dumps(filled().to_json()))
    assert Ledger.from_json(data) == filled()
    assert set(BUCKETS) <= set(data)
    with pytest.raises(DanluError, match="E1230"):
        Ledger.from_json(data | {"trained": 6})


def test_two_ledgers_become_one() -> None:
    both = filled().merged(filled()).check()
    assert both.rows == 22
    assert both.dropped == {"empty": 2, "not JSON": 2}
    assert both.truncated_by == 14
    assert len(both.details) == 4


def test_details_are_bounded_and_counts_are_not() -> None:
    ledger = Ledger()
    for line in range(3 * DETAILS):
        ledger.drop("empty", "a.txt", line)
    ledger.drop("not JSON", "a.txt", 1)
    assert ledger.dropped["empty"] == 3 * DETAILS
    assert len(ledger.details) == DETAILS + 1


def test_every_reason_is_said_in_both_languages() -> None:
    for en, zh in (*BUCKETS.values(), *REASONS.values()):
        assert en.isascii()
        assert not zh.isascii()
