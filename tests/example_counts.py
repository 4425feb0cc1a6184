"""How many examples hypothesis draws: a fifth in ``make test``, all in ``make test-all``."""

import os

FULL = os.environ.get('MMSEG_SSPROMPT_EXAMPLES') == 'full'


def count(full: int) -> int:
    """Examples of a test whose slow tier has ``full`` of them."""
    return full if FULL else max(5, full // 5)
