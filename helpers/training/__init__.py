"""Training: the loop, its history, exact resume, data-parallel processes, and tested recipes."""
# fmt: off

from helpers.training.checks import count_steps
from helpers.training.distributed import (
    SINGLE_PROCESS, ProcessGroup, SingleProcess, join_process_group,
)
from helpers.training.execution import PRECISIONS, Execution, fastest_precision, make_forward
from helpers.training.history import (
    EpochRecord, History, NonFiniteLossError, OutOfMemoryError, TrainingError, TrainingStopped,
)
from helpers.training.loop import fit
from helpers.training.recipes import RECIPES, Recipe, find_recipe, train, train_on
from helpers.training.resume import ResumeError
