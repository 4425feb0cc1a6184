"""Run the notebooks of the docs in empty folders, and keep what they show.

    python -m dev.run_notebooks

A notebook is stored with its outputs, which GitHub and the site show, and without what differs from
run to run: times of cells, numbers of processes, progress.
"""

import argparse
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_output

from mmseg_ssprompt.files import write_atomically

from .provenance import ROOT

__all__ = ['NOTEBOOKS', 'run_notebook']

NOTEBOOKS = ROOT / 'docs' / 'notebooks'
#: What says how long something takes.
_PROGRESS = re.compile(r'^.*\d s(?: left)?\n$|^\d+ s; ')
_SECONDS = 600  # of a cell; CI's machines are slow


def run_notebook(file: Path, folder: Path) -> Any:
    """Run a notebook.

    Args:
        file: The notebook; it is not changed.
        folder: The current folder of its kernel.

    Returns:
        The notebook with new outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(file, as_version=4)
    os.environ.setdefault('PYTHONPATH', str(ROOT))  # of the kernel, which starts in the folder
    client = NotebookClient(
        notebook, timeout=_SECONDS, resources=dict(metadata=dict(path=str(folder)))
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop('execution', None)
        cell['outputs' if cell.cell_type == 'code' else 'metadata'] = _keep(cell, folder)
    notebook.metadata = dict(
        kernelspec=dict(display_name='Python 3', language='python', name='python3'),
        language_info=dict(name='python'),
    )
    return notebook


def _keep(cell: Dict[str, Any], folder: Path) -> Any:
    """The outputs of a cell without progress and places on this machine."""
    if cell['cell_type'] != 'code':
        return cell['metadata']
    kept: List[Any] = []
    for output in cell['outputs']:
        data = output.get('data', {})
        if data.get('text/html', '').startswith('<pre'):  # each line that rich prints
            output = new_output('stream', name='stdout', text=data['text/plain'])
        if output['output_type'] == 'stream':
            if output['name'] == 'stderr' or _PROGRESS.search(output['text']):
                continue
            if kept and kept[-1]['output_type'] == 'stream':
                kept[-1]['text'] += output['text']
                continue
        kept.append(output)
    for output in kept:
        for text in (output, output.get('data', {})):
            for key in {'text', 'text/plain', 'text/html'} & set(text):
                text[key] = re.sub(rf'{re.escape(str(folder))}/?', '', text[key])
                text[key] = re.sub(r'\x1b\[[\d;]*m|[ \t]+$', '', text[key], flags=re.MULTILINE)
    return kept


def main() -> None:
    argparse.ArgumentParser(description='Run the notebooks of the docs').parse_args()
    for file in sorted(NOTEBOOKS.glob('*.ipynb')):
        with tempfile.TemporaryDirectory() as folder:
            notebook = run_notebook(file, Path(folder))
        write_atomically(file, nbformat.writes(notebook, version=4).encode() + b'\n')
        print(f'{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes')


if __name__ == '__main__':
    main()
