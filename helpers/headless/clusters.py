"""Which workers are there, and do they have the same code, and what a point needs?"""

import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from helpers.files import write_atomic
from helpers.headless.plans import code_version
if TYPE_CHECKING:
    from distributed import Client

CONNECT_TIMEOUT = 15  # seconds, that a scheduler has


class ClusterError(RuntimeError):
    """The workers cannot be used; the message says why, and what to do."""


@contextmanager
def open_client(
    address: str | None,
    processes: int,
    *,
    root: Path | None = None,
    needed: Mapping[str, float] | None = None,
) -> "Iterator[Client]":
    """The scheduler at `address`, or one of our own with so many single-threaded processes.

    `root` is a folder that all must see, `needed` are resources that a worker must have, such as
    {"GPU": 1}. Raises ClusterError if no scheduler answers, if a worker has another version of this
    package or does not see the folder, or if none has what is needed: for such a worker Dask would
    wait without a word.
    """
    from distributed import Client, LocalCluster

    if address is not None:
        try:
            client = Client(address, timeout=CONNECT_TIMEOUT)
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            raise ClusterError(
                f"No scheduler answers at {address} within {ANSWER_WITHIN} s. Is it running, and "
                f"can this machine reach it? It prints its address when it starts."
            ) from error
        with client:
            _same_version(client)
            if root is not None:
                _same_disk(client, root)
            _equipped(client, needed or {})
            yield client
        return
    with (
        LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",  # any port that is free: there may be other clusters
            # a worker only waits for its kernel, so there is nothing in it to profile
            config={"distributed.worker.profile.enabled": False},
            silence_logs=logging.CRITICAL,  # what fails or is stopped is told by us
        ) as cluster,
        Client(cluster) as client,
    ):
        _equipped(client, needed or {})
        yield client


def _same_version(client: "Client") -> None:
    here = code_version()
    try:
        there = client.run(code_version)
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


def _same_disk(client: "Client", root: Path) -> None:
    token = root / f".seen-by-all-{uuid.uuid4().hex}"  # a new name, so that no cache knows it
    write_atomic(token, "")
    try:
        blind = [
            worker for worker, sees in client.run(os.path.exists, str(token)).items() if not sees
        ]
    finally:
        token.unlink()
    if blind:
        raise ClusterError(
            f"The worker {blind[0]} does not see {root}. Name a folder with --root that all "
            f"machines share."
        )


def _equipped(client: "Client", needed: Mapping[str, float]) -> None:
    if not needed:
        return
    there = client.run(lambda dask_worker: dask_worker.state.total_resources)
    for has in there.values():
        if all(has.get(name, 0) >= amount for name, amount in needed.items()):
            return
    wanted = ",".join(f"{name}={amount:g}" for name, amount in needed.items())
    raise ClusterError(
        f"None of {len(there)} workers has {wanted}. Start some with it, and name their scheduler: "
        f'dask worker … --resources "{wanted}"'
    )
