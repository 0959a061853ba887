"""Studies: what is read, what is refused, and what a consistent one comes to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from comfypod.batch.economics.claims import check_study
from comfypod.batch.economics.comparison import compare
from comfypod.batch.economics.study import parse_study
from comfypod.cli.batch.economics import economics_command
from comfypod.errors import ConfigurationError

_ROOT = Path(__file__).parents[3]
_HEAD = 'title = "Two"\nitems = 1000\n'
_FAST = '[[alternatives]]\nname = "fast"\ndollars_per_hour = 1.0\nitems_per_hour = 1000\nsetup_minutes = 6\n'
_SLOW = '[[alternatives]]\nname = "slow"\nbid = { start = 0.2, ceiling = 0.4 }\nitems_per_hour = [250, 500]\n'


def test_set_up_downloads_and_interruptions_are_paid_for() -> None:
    study = parse_study(
        'title = "One"\nitems = 1000\n[[alternatives]]\nname = "one"\nmachines = 2\ndollars_per_hour = 1.0\n'
        "items_per_hour = 500\nsetup_minutes = 4\nfirst_download_gigabytes = 7.5\nmegabits_per_second = 1000\n"
        "interruptions_per_hour = 0.5\ndisk_gigabytes = 73\n"
    )

    (one,) = compare(study)

    # 4 min and 1 min of download: 1/12 h; then one hour of work, of which every half interruption costs 1/12 h again.
    assert one.hours == pytest.approx((1 / 12 + 1 + 0.5 / 12,) * 2)
    assert one.dollars == pytest.approx((2 * 1.01 * 1.125,) * 2)
    assert one.next_best is None
    assert one.indifference_price is None


def test_a_ladder_that_stays_below_the_next_best_is_left_alone() -> None:
    finding = check_study(parse_study(f'title = "Two"\n{_FAST}{_SLOW}'.replace("0.4", "0.25")))[0]

    assert finding.verdict == "holds"
    assert "up to $0.250-0.500/h" in finding.sentence


def test_a_ladder_that_pays_at_one_end_only_depends() -> None:
    finding = check_study(parse_study(f'title = "Two"\n{_FAST}{_SLOW}'))[0]

    assert finding.verdict == "depends"


def test_claims_that_hold_are_said_to_hold() -> None:
    study = parse_study(
        f'title = "Two"\n{_FAST}stated = {{ dollars_per_item = 0.001, dollars_per_hour = 1.0 }}\n'
        f'{_SLOW}[[claims]]\nabout = "more_items"\nsays = "Twice"\nalternative = "fast"\nthan = "slow"\nmore = 1.0\n'
        '[[claims]]\nabout = "retries"\nsays = "All"\ntries = 100\nseconds_between = 10\noutage_seconds = 600\n'
        '[[claims]]\nabout = "splitting"\nsays = "Part"\nalternative = "fast"\ngigabytes = [1000]\n'
        "setup_minutes = [1]\nabove_hours = 1\n"
        '[[claims]]\nabout = "short_runs"\nsays = "Dear"\nrun_hours = [1]\nthan_hours = 3\ndearer = 0.1\n'
        "gigabytes = 80\nfirst_gigabytes = 80\nmegabits_per_second = 100\n"
    )

    assert {finding.says: finding.verdict for finding in check_study(study)} == {
        "fast: $0.001000 an item": "holds",
        "fast: $1.000/h in all": "holds",
        "slow: bids of up to $0.4": "depends",
        "Twice": "holds",
        "All": "holds",
        "Part": "holds",
        "Dear": "holds",
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("title = ", "not valid TOML"),
        (_HEAD, "alternatives"),
        (_HEAD + _FAST + _FAST, "same name"),
        (_HEAD + _FAST.replace("dollars_per_hour = 1.0", ""), "give one of"),
        (_HEAD + _FAST.replace("1000", "nan"), "items_per_hour"),
        (_HEAD + _SLOW.replace("[250, 500]", "[500, 250]"), "the lowest comes first"),
        (_HEAD + _SLOW.replace("0.4", "0.1"), "below the start"),
        (_HEAD + _FAST + "speed = 3\n", "speed"),
        (_HEAD + _FAST + "first_download_gigabytes = 3\n", "megabits_per_second"),
        (_HEAD + _FAST + '[[claims]]\nabout = "magic"\nsays = "x"\n', "magic"),
        (
            _HEAD + _FAST + '[[claims]]\nabout = "cheaper"\nsays = "x"\nalternative = "fast"\nthan = "none"\n',
            "no alternative",
        ),
    ],
)
def test_what_is_no_study_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_study(text)

    assert problem in str(caught.value)


def test_the_command_prints_findings_and_json(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(_HEAD + _FAST + _SLOW)

    table = _command(file)
    document = json.loads(_command(file, "--json").stdout)

    assert "slow: bids of up to $0.4" in table.stdout
    assert [alternative["name"] for alternative in document["alternatives"]] == ["fast", "slow"]
    assert document["findings"][0]["verdict"] in {"holds", "depends", "contradicted"}


def test_the_how_tos_example_is_a_study() -> None:
    page = (_ROOT / "docs/how-to/compare-costs.md").read_text()
    study = parse_study(page.partition("```toml\n")[2].partition("```")[0])

    on_demand, bids = compare(study)

    assert on_demand.dollars is not None
    assert on_demand.dollars[0] == pytest.approx(0.69 * (10_000 / 1400 + (120 + 7 * 8000 / 1500) / 3600))
    assert bids.next_best == on_demand.name


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigurationError, match="No such file"):
        economics_command(tmp_path / "none.toml", as_json=False)
    with pytest.raises(ConfigurationError, match="no UTF-8 text"):
        economics_command(binary, as_json=False)


def _command(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "comfypod", "batch", "economics", str(file), *options]
    return subprocess.run(arguments, capture_output=True, text=True, cwd=_ROOT, timeout=60, check=False)
