"""What is kept, and for how long: names that sort by age, and what goes when there is too much."""

from __future__ import annotations

from comfypod.web.identifiers import is_item_id, is_visitor_id, new_id
from comfypod.web.runs.ledger import Kept, Ledger


def test_names_sort_as_they_were_made_and_none_is_made_twice() -> None:
    names = [new_id() for _ in range(200)]
    assert all(is_item_id(name) for name in names)
    assert len(set(names)) == 200
    # The clock tells microseconds; within one, chance decides.
    assert [name[:10] for name in names] == sorted(name[:10] for name in names)


def test_what_could_be_a_path_is_no_name() -> None:
    for text in ("", ".", "..", "../" + "0" * 23, "0" * 25, "0" * 27, "0" * 25 + "/", "0" * 25 + "\n", "I" * 26):
        assert not is_item_id(text)
    for text in ("", "short", "a" * 65, "../aaaaaaaa", "aaaaaaaa\n", "aaaa aaaa"):
        assert not is_visitor_id(text)


def test_the_oldest_of_a_visitor_go_first_and_what_goes_on_stays() -> None:
    ledger = Ledger(most_of_a_visitor=2, most_bytes=1000)
    ledger.note(Kept("visitor", "1", 10, may_go=False))
    for item_id in ("2", "3", "4"):
        ledger.note(Kept("visitor", item_id, 10))
    ledger.note(Kept("other", "0", 10))
    assert [item.item_id for item in ledger.excess()] == ["2", "3"]
    assert ledger.of_visitor("visitor") == ["4", "3", "2", "1"]


def test_the_oldest_of_all_go_when_there_is_too_much_but_not_the_newest() -> None:
    ledger = Ledger(most_of_a_visitor=10, most_bytes=100)
    ledger.note(Kept("visitor", "1", 60))
    ledger.note(Kept("other", "2", 30))
    ledger.note(Kept("visitor", "3", 50))
    assert [item.item_id for item in ledger.excess()] == ["1"]
    ledger.note(Kept("visitor", "3", 5000))
    assert [item.item_id for item in ledger.excess()] == ["1", "2"]
    ledger.forget("visitor", "1")
    ledger.forget("other", "2")
    assert list(ledger.excess()) == []
