"""The code that the notebooks share. Start with `data`, `models`, `training` and `evaluation`.

Importing this package imports nothing heavy, probes no hardware and sets no seed.
"""

__version__ = "0.1.0"
