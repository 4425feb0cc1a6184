"""The console script ``mmseg-ssprompt``, which parses its arguments before it imports the package.

Importing ``mmseg_ssprompt`` imports torch and mmseg, and ``--help`` need not wait for them. So the
parser is loaded from its folder, which Python finds without importing the package. This is a module
of its own, at the top level, because importing a module of a package imports the package.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Optional, Sequence


def main(arguments: Optional[Sequence[str]] = None) -> Optional[int]:
    """Run the command.

    Args:
        arguments: Of the command line. Defaults to None: those of this process.

    Returns:
        The exit status; None is 0.
    """
    package = importlib.util.find_spec('mmseg_ssprompt')
    assert package is not None and package.origin is not None  # installed with this module
    file = Path(package.origin).parent / 'cli' / 'parser' / '__init__.py'
    spec = importlib.util.spec_from_file_location('mmseg_ssprompt_parser', file)
    assert spec is not None and spec.loader is not None
    parser = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = parser  # where its own modules look for it
    spec.loader.exec_module(parser)
    status: Optional[int] = parser.run_command(arguments)
    return status
