"""How the report and the terminal write numbers."""

from typing import Optional

__all__ = [
    'UNKNOWN',
    'format_duration',
    'format_large',
    'format_number',
    'format_short',
    'format_signed',
]

#: Stands for a number that is not known.
UNKNOWN = '\N{EN DASH}'
_MINUS = '\N{MINUS SIGN}'


def format_number(value: Optional[float], digits: int = 1) -> str:
    """A result with its digits after the point, of which there is one by default; never -0.0."""
    if value is None or value != value:
        return UNKNOWN
    text = f'{value:.{digits}f}'
    return text.replace('-', _MINUS) if float(text) else f'{0:.{digits}f}'


def format_signed(value: Optional[float]) -> str:
    """A difference, with its sign."""
    text = format_number(value)
    return text if text[0] in (UNKNOWN, _MINUS) or not float(text) else f'+{text}'


def format_large(value: Optional[float]) -> str:
    """A count with all its digits."""
    return UNKNOWN if value is None else f'{value:,.0f}'


def format_short(value: float) -> str:
    """A count in few characters."""
    for unit, name in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if value >= unit:
            return f'{value / unit:.3g} {name}'
    return f'{value:.0f}'


def format_duration(seconds: Optional[float]) -> str:
    """Seconds, minutes or hours."""
    if seconds is None:
        return UNKNOWN
    if seconds < 100:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 5400 else f'{seconds / 3600:.1f} h'
