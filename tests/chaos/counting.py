"""What became of every request, from what is visible in the chat and what the workers noted."""

from __future__ import annotations

from collections import Counter

from tests.chaos.asked import sha256_of
from tests.chaos.chat import Chat, read_content
from tests.chaos.journal import Journal
from tests.chaos.plan import Plan, Report


def count(plan: Plan, chat: Chat, journal: Journal, posts: int) -> Report:
    """Compare every answer with what it must be."""
    report = Report(requests=plan.requests, posts=posts, repeats=chat.repeats)
    report.lost = [number for number in range(plan.requests) if f"interaction-{number}" not in chat.interactions]
    for interaction in chat.interactions.values():
        visible = interaction.visible
        if not visible:
            report.lost.append(interaction.number)
        elif len(visible) > 1:
            report.doubled.append(interaction.number)
        else:
            report.visible_once += 1
        report.wrong += [content for content in visible if not _is_right(plan, interaction.number, content)]
    _count_work(plan, journal, report)
    return report


def _is_right(plan: Plan, number: int, content: str) -> bool:
    told = read_content(content)
    if plan.is_invalid(number):
        return told == {"state": "failed", "picture": None}
    return told == {"state": "succeeded", "picture": sha256_of(number)}


def _count_work(plan: Plan, journal: Journal, report: Report) -> None:
    begun, ended = list(journal.notes("run")), list(journal.notes("ran"))
    report.expected_runs = sum(not plan.is_invalid(number) for number in range(plan.requests))
    report.gpu_runs = len(begun)
    report.vain_runs = len(begun) - len(ended)
    report.stopped = Counter(note.details[0] for note in journal.notes("stopped"))
    report.kills = Counter(note.subject for note in journal.notes("kill"))
