"""``python -m mmseg_ssprompt``: the command ``mmseg-ssprompt``, for launchers such as torchrun."""

import sys

from .cli.parser import run_command

if __name__ == '__main__':
    sys.exit(run_command())
