"""What can go wrong while data are read, models trained and notebooks run, done on purpose."""

import multiprocessing

# processes are forked from one that has imported everything, so that a start costs no time
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.faults.crowds", "tests.faults.training"])
