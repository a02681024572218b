"""`python -m helpers`: see `helpers.headless.cli`."""

from helpers.headless.cli import app

app(prog_name="python -m helpers")
