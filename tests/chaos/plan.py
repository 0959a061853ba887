"""What a run is to go through, and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

WORKER_POINTS = ("worker_took", "worker_leased", "worker_running", "worker_before_commit", "worker_committed")
BOT_POINTS = ("bot_before_submit", "bot_submitted", "bot_claimed", "bot_sent", "bot_delivered")
MOST_GPU_RUNS = 1.05


@dataclass(frozen=True, slots=True)
class Plan:
    """How many requests by how many processes, and how bad it gets.

    Shares are of RunPod's jobs: ``share_vanished`` are forgotten (404), whatever they were doing, ``share_undelivered``
    are given to a worker that never hears of them, ``share_doubled`` to two workers. ``share_invalid`` of the requests
    must fail. ``dedupes``: the workers look for results and leases; ``keeps_nonces``: the chat service knows its
    messages again.
    """

    requests: int
    kills: int
    masters: int = 1
    bots: int = 1
    workers: int = 12
    rate: float = 8.0
    gpu_seconds: float = 0.3
    lease_seconds: float = 3.0
    lost_job_seconds: float = 3.0
    share_vanished: float = 0.01
    share_undelivered: float = 0.01
    share_doubled: float = 0.03
    share_unheard: float = 0.02
    share_repeated: float = 0.05
    share_invalid: float = 0.02
    faults: tuple[str, ...] = (
        "cut:route=run,when=after,chance=0.01,times=0,seed=1",
        "cut:route=client,when=before,chance=0.01,times=0,seed=2",
        "status:route=client,code=502,chance=0.01,times=0,seed=3",
    )
    dedupes: bool = True
    keeps_nonces: bool = True
    users: int = 7
    keep_days: float = 30.0
    away_seconds: float = 80.0
    """How long a master stays away whose work another is to adopt."""
    patience_seconds: float = 60.0
    """How long nothing may become visible before the rest counts as lost."""
    seed: int = 1

    def is_invalid(self, number: int) -> bool:
        """Whether the request of this number must fail."""
        return number % 100 < 100 * self.share_invalid


@dataclass(slots=True)
class Report:
    """What came of it; numbers are those of the chat service's interactions.

    Attributes:
        kills: processes killed, by point.
        posts: jobs that RunPod was given.
        gpu_runs: how often a worker began to use the GPU.
        vain_runs: runs whose worker died or was told to stop before it could commit.
        stopped: answers of workers that did not run, by their reason.
        crashes: processes that ended by themselves.
        left: what should be empty in the end and is not.
    """

    requests: int
    seconds: float = 0.0
    visible_once: int = 0
    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    repeats: int = 0
    posts: int = 0
    gpu_runs: int = 0
    expected_runs: int = 0
    vain_runs: int = 0
    stopped: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def gpu_runs_per_request(self) -> float:
        """Of those requests that need a GPU."""
        return self.gpu_runs / self.expected_runs if self.expected_runs else 0.0

    @property
    def needless_runs(self) -> int:
        """Runs that came to an end although there was a result, or another run."""
        return self.gpu_runs - self.vain_runs - self.expected_runs

    @property
    def nothing_lost_or_doubled(self) -> bool:
        """Whether every request was answered once, with its own result."""
        return not (self.lost or self.doubled or self.wrong) and self.visible_once == self.requests

    @property
    def is_good(self) -> bool:
        """Whether everything is as it is promised."""
        nothing_left = not (self.crashes or self.left)
        return self.nothing_lost_or_doubled and nothing_left and self.gpu_runs_per_request <= MOST_GPU_RUNS

    def lines(self) -> list[str]:
        """For people: a table, and where the processes were killed."""
        head = "kills, POSTs per request, GPU runs per request, visible once, twice or more, never, wrong"
        cells = [
            str(self.kills.total()),
            f"{self.posts / self.requests:.3f}",
            f"{self.gpu_runs_per_request:.3f}",
            f"{self.visible_once} of {self.requests}",
            *(str(len(found)) for found in (self.doubled, self.lost, self.wrong)),
        ]
        names = head.split(", ")
        rows = [names, ["---:"] * len(names), cells]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        lines += ["", f"{self.seconds:.0f} s; {self.repeats} interactions came twice; {self.vain_runs} runs in vain"]
        lines += [f"stopped by {reason}: {count}" for reason, count in self.stopped.most_common()]
        lines += [f"killed at {point}: {count}" for point, count in sorted(self.kills.items())]
        return [*lines, *(f"crash: {text}" for text in self.crashes), *(f"left: {text}" for text in self.left)]
