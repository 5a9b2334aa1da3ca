"""`python -m tuner`: the same as the console script `tuner`."""

from tuner.cli import main

main()
