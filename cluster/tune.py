"""`ray submit cluster.yaml tune.py …`: what `tuner tune …` does, on the cluster that this host is
part of, or on this host alone where there is none. Its options are those of `tuner tune`."""

import os
import sys

from tuner.cli import main
from tuner.session import running_cluster

# The launcher's terminal is no terminal of the user's: a live table would arrive as rubbish.
os.environ.update(TERM="dumb", NO_COLOR="1")
address = running_cluster()
main(["tune", *(["--address", address] if address else []), *sys.argv[1:]])
