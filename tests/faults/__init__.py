"""Deliberate faults in data files, trainings and notebook runs."""

import multiprocessing

# processes are forked from one that has imported everything, so that they start quickly
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.faults.concurrency", "tests.faults.training"])
