"""What the notebooks share: one module per question, each short enough to read.

Start with `data`, `models`, `training` and `evaluation`; the README's table names the rest.
Importing this package imports nothing else, probes no hardware and sets no seed.
"""

__version__ = "0.1.0"
