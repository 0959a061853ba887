"""Files of offers, and of learned speeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfypod.batch.planning import LearnedSpeeds, builtin_offers, parse_offers, read_learned, write_learned
from comfypod.batch.planning.learned import ANY
from comfypod.errors import ConfigurationError
from tests.batch.planning.making import offer

_ONE = """
[defaults]
provider = "runpod"
download_megabits = 800

[[offers]]
gpu = "NVIDIA RTX A4000"
price_class = "interruptible"
dollars_per_hour = 0.12
memory_gigabytes = 16
megapixel_steps_per_second = 1.6
interruptions_per_hour = 0.1
most_pods = 3
"""


def test_a_file_has_prices_as_they_are_quoted() -> None:
    (found,) = parse_offers(_ONE)
    assert (found.provider, found.gpu, found.price_class) == ("runpod", "NVIDIA RTX A4000", "interruptible")
    assert (found.memory_bytes, found.download_bytes_per_second, found.most_pods) == (16 * 10**9, 1e8, 3)
    assert found.disk_dollars_per_gigabyte_hour == pytest.approx(0.10 / 730)


def test_a_price_by_the_second_is_one_by_the_hour() -> None:
    (found,) = parse_offers(_ONE.replace("dollars_per_hour = 0.12", "dollars_per_second = 0.00016"))
    assert found.dollars_per_hour == pytest.approx(0.576)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("dollars_per_hour = 0.12", ""), "offers.0: give either"),
        (("memory_gigabytes = 16", "memory_gigabytes = nan"), "offers.0.memory_gigabytes"),
        (("most_pods = 3", "most_podss = 3"), "offers.0.most_podss"),
        (("[[offers]]", "[[other]]"), "offers: Field required"),
        (('"NVIDIA RTX A4000"', '"\\u001b[31m"'), "offers.0.gpu"),
        (("[[offers]]", "[[offers"), "not valid TOML"),
        (("[defaults]", "defaults = 3"), "not valid TOML|defaults"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(change: tuple[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse_offers(_ONE.replace(*change))


def test_the_built_in_offers_are_right_and_pods_are_cheaper_than_serverless() -> None:
    offers = builtin_offers()
    dollars = {(item.gpu, item.price_class): item.dollars_per_hour / item.megapixel_steps_per_second for item in offers}
    assert len(dollars) == len(offers) >= 10
    assert dollars["NVIDIA RTX A4000", "serverless"] > 4 * dollars["NVIDIA RTX A4000", "interruptible"]
    assert max(item.memory_bytes for item in offers) == 80 * 10**9


def test_what_was_measured_counts_more_than_what_is_promised(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "speeds.json"
    learned = read_learned(path)
    assert learned.speed(offer(), "checkpoints/a") == 1.6
    learned = learned.with_run("A4000", "checkpoints/a", work=300.0, seconds=100.0)
    learned = learned.with_run("A4000", "checkpoints/b", work=100.0, seconds=100.0)
    write_learned(path, learned)
    again = read_learned(path)
    assert again == learned
    assert again.speed(offer(), "checkpoints/a") == 3.0
    assert again.speed(offer(), "checkpoints/new") == 2.0, "all of this type together"
    assert again.speed(offer(gpu="other"), "checkpoints/a") == 1.6
    assert again.knows("A4000")
    assert not again.knows("other")


def test_old_measurements_fade_and_nonsense_is_not_learned() -> None:
    learned = LearnedSpeeds().with_run("A4000", ANY, work=1e6, seconds=1e6)
    learned = learned.with_run("A4000", ANY, work=60_000.0, seconds=20_000.0)
    assert learned.speed(offer(), ANY) == pytest.approx(2.0)
    for work, seconds in ((0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0), (1.0, float("inf")), (-1.0, 1.0)):
        assert LearnedSpeeds().with_run("A4000", ANY, work, seconds) == LearnedSpeeds()


def test_a_broken_file_of_speeds_is_named(tmp_path: Path) -> None:
    (tmp_path / "speeds.json").write_text('{"speeds": {"A4000": {"*": {"work": -1, "seconds": 2}}}}')
    with pytest.raises(ConfigurationError, match="no file of learned speeds"):
        read_learned(tmp_path / "speeds.json")
