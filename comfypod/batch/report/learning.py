"""What a batch has taught about its GPUs, for the next plan."""

from __future__ import annotations

from pathlib import Path

from comfypod.batch.account import Account
from comfypod.batch.planning.learned import LearnedSpeeds, read_learned, write_learned


def learn(path: Path, account: Account) -> LearnedSpeeds:
    """Add the speeds that were measured in a batch to the file. Call it once a batch, at its end.

    Raises:
        ConfigurationError: the file cannot be read or written, or is no such file.
    """
    learned = read_learned(path)
    for speed in account.speeds:
        learned = learned.with_run(speed.gpu, speed.kind, speed.work, speed.gpu_seconds - speed.load_seconds)
    write_learned(path, learned)
    return learned
