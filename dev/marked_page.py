"""Pages of which a part is made by a command: what stands between two marks."""

from pathlib import Path

from mmseg_ssprompt.files import write_atomically

__all__ = ['write_between']


def write_between(page: Path, start: str, end: str, part: str) -> None:
    """Replace what stands between a mark and the next end mark; all else of the page is kept.

    Raises:
        SystemExit: If the page lacks a mark.
    """
    before, found, rest = page.read_text(encoding='utf-8').partition(start)
    _, ends, after = rest.partition(end)
    if not (found and ends):
        raise SystemExit(f'{page}: expected the marks {start} and, after it, {end}')
    write_atomically(page, f'{before}{start}\n\n{part}\n\n{end}{after}'.encode())
