"""How often is an executed notebook written? Twice a minute, and at its end, however that comes.

By itself papermill writes it before and after each cell, and while it writes, the kernel waits.
With notebooks full of pictures that was a seventh of the time of a short run.
"""

import logging
from typing import Any
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

NAME = "seldom"
EVERY = 30  # seconds, as papermill does during a long cell


class SeldomWriting(NBClientEngine):
    """papermill's own way to run a notebook, but for the writing."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, **kwargs: Any
    ) -> None:
        """Run the cells, and let `nb_man` write when it is time."""
        write = nb_man.save

        def save(**told: Any) -> None:
            since = (nb_man.now() - nb_man.last_save_time).total_seconds()
            if nb_man.end_time is not None or since >= EVERY:
                write(**told)

        nb_man.save = save
        super().execute_managed_notebook(nb_man, kernel_name, **kwargs)


papermill_engines.register(NAME, SeldomWriting)
logging.getLogger("papermill").setLevel(logging.ERROR)
