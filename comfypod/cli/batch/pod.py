"""``comfypod batch pod``: what a rented machine runs."""

from __future__ import annotations

import os

from comfypod.batch.runner.program import run_pod
from comfypod.cli.printing import write_error
from comfypod.cli.worker_script import worker_script
from comfypod.errors import PodUnfit


def run_batch_pod() -> None:
    """Work on a batch until it is over, with the worker of the repository.

    A machine that is not fit has told so, and ends as one that has done its work: it must not be started again.

    Raises:
        ConfigurationError: there is no worker here, or it is set up wrongly.
        CoordinatorUnavailable: the coordinator never answered, or will not have this pod.
    """
    try:
        reason = run_pod(worker_script().parent, os.environ)
    except PodUnfit as error:
        write_error(f"{error.code}: {error}")
    else:
        write_error(f"The pod has ended: {reason}")
