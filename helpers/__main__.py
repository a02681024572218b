"""`python -m helpers`: see `helpers.headless.cli`."""

from helpers.headless.cli import main

main(prog_name="python -m helpers")
