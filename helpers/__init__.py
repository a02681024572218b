"""What the notebooks share. Start with `data`, `models`, `training` and `evaluation`.

Importing this package imports nothing else, probes no hardware and sets no seed.
"""

__version__ = "0.1.0"
