"""Which workers are there, and do they have the same code?"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from helpers import plans

if TYPE_CHECKING:
    from distributed import Client

ANSWER_WITHIN = 15  # seconds, that a scheduler has


class ClusterError(RuntimeError):
    """The workers cannot be used; the message says why, and what to do."""


@contextmanager
def workers(address: str | None, processes: int, *, dashboard: bool = True) -> "Iterator[Client]":
    """The scheduler at `address`, or one of our own with so many single-threaded processes.

    Raises ClusterError if none answers, or if a worker has another version of this package.
    """
    from distributed import Client, LocalCluster

    if address is not None:
        try:
            client = Client(address, timeout=ANSWER_WITHIN)
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            raise ClusterError(
                f"No scheduler answers at {address} within {ANSWER_WITHIN} s. Is it running, and "
                f"can this machine reach it? It prints its address when it starts."
            ) from error
        with client:
            _same_version(client)
            yield client
        return
    place = ":0" if dashboard else None
    with (
        LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            processes=True,
            dashboard_address=place,
            # a worker only waits for its kernel, so there is nothing in it to profile
            config={"distributed.worker.profile.enabled": False},
            silence_logs=logging.CRITICAL,  # what fails or is stopped is told by us
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _same_version(client: "Client") -> None:
    here = plans.code_version()
    try:
        there = client.run(plans.code_version)
    except ModuleNotFoundError as error:
        raise ClusterError(
            "The workers do not have this package. Install it where they start: pip install -e ."
        ) from error
    if not there:
        raise ClusterError("The scheduler has no workers. Start some, or wait until they come.")
    for worker, version in there.items():
        if version != here:
            raise ClusterError(
                f"The worker {worker} has version {version} of this package, here it is {here}. "
                f"Bring both to the same one and start the worker anew."
            )
