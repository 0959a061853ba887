"""What follows from set-up, disks and links for how a batch should be split. Pure; hours, dollars, gigabytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tariff:
    """What an hour of one machine costs; its tool chain lies on the disk whatever it makes."""

    dollars_per_hour: float
    disk_dollars_per_gigabyte_hour: float
    tool_chain_gigabytes: float = 0.0

    def hour(self, gigabytes: float) -> float:
        """With so much of files on the disk."""
        return self.dollars_per_hour + self.disk_dollars_per_gigabyte_hour * (self.tool_chain_gigabytes + gigabytes)


@dataclass(frozen=True, slots=True)
class Run:
    """A machine that is rented for so long, with so much of files on its disk."""

    gigabytes: float
    hours: float

    def cost_of_working_hour(self, tariff: Tariff, setup_hours: float) -> float:
        """Dollars; items are made in all hours but those of the set-up."""
        return tariff.hour(self.gigabytes) * self.hours / (self.hours - setup_hours)


def hours_worth_splitting(gigabytes: float, setup_hours: float, tariff: Tariff) -> float:
    """From how many hours of work in all, of two groups with ``gigabytes`` of files each, a machine for each pays.

    Together each group's files lie idle while the other works, d (S1 W2 + S2 W1); apart a second set-up is paid,
    F (p + d V0). Two groups share a machine unless the first is more; with S1 = S2 only W1 + W2 counts.
    """
    return setup_hours * tariff.hour(0.0) / (tariff.disk_dollars_per_gigabyte_hour * gigabytes)


def setup_hours_behind(dearer: float, *, run_hours: float, than_hours: float) -> float:
    """The set-up with which an item of a run of ``run_hours`` costs ``dearer`` (0.7: 70 %) more than of a longer one.

    Both runs are paid in full, and make items for all but their set-up F:
    run / (run - F) = (1 + dearer) x than / (than - F).
    """
    factor = 1.0 + dearer
    return than_hours * run_hours * dearer / (factor * than_hours - run_hours)
