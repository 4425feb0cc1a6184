"""Running the rows of a study with the ordinary tools, each run once."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from records import read_last_validation, read_metrics, read_train_seconds

from .definitions import StudyRow

__all__ = ['Run', 'run_all']

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """One training with its test.

    Attributes:
        row: What is run.
        seed: Draws the training set and the noise on the prompts.
        lr: The optimiser's learning rate, or None where nothing trains.
        folder: Where everything goes.
        test: Whether the test split is looked at; the search for a learning rate does not.
    """

    row: StudyRow
    seed: int
    lr: Optional[float]
    folder: Path
    test: bool = True

    @property
    def result_file(self) -> Path:
        """Written when the run is complete."""
        return self.folder / ('result.json' if self.test else 'validation.json')

    def result(self) -> Dict[str, Any]:
        """The figures of a complete run."""
        return json.loads(self.result_file.read_text())

    def execute(self, threads: int) -> None:
        """Train and test, or validate, unless that was done before."""
        if self.result_file.is_file():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        result: Dict[str, Any] = dict(
            seed=self.seed, learning_rate=self.lr, trainable_parameters=0, train_seconds=0.0
        )
        checkpoint: List[str] = []
        if self.row.trains:
            output = self._call('train.py', [], self._options(), threads)
            found = re.search(r'Trainable: ([\d,]+) parameters', output)
            result['trainable_parameters'] = int(found[1].replace(',', ''))
            result['train_seconds'] = round(read_train_seconds(self.folder / 'train'), 1)
            result['validation_miou'] = read_last_validation(self.folder / 'train')['mIoU']
            checkpoint = [(self.folder / 'train' / 'last_checkpoint').read_text().strip()]
        if self.test:
            self._call('test.py', checkpoint, list(self.row.options), threads)
            metrics = read_metrics(self.folder / 'test')
            result.update({key: metrics[key] for key in ('mIoU', 'mIoU.things', 'mIoU.stuff')})
        temporary = self.result_file.with_suffix('.tmp')
        temporary.write_text(json.dumps(result, indent=1) + '\n')
        os.replace(temporary, self.result_file)

    def _options(self) -> List[str]:
        seeds = [f'randomness.seed={self.seed}', f'train_dataloader.dataset.seed={self.seed}']
        return [*self.row.options, *seeds, f'optim_wrapper.optimizer.lr={self.lr}']

    def _call(self, tool: str, args: Sequence[str], options: Sequence[str], threads: int) -> str:
        """Run a tool and return its output, which is also kept beside the result.

        Raises:
            RuntimeError: If it failed, with the end of its output.
        """
        name = tool[: -len('.py')]
        command = [sys.executable, str(ROOT / 'tools' / tool)]
        command += [str(ROOT / 'configs' / self.row.config), *args]
        command += ['--work-dir', str(self.folder / name)]
        command += ['--cfg-options', *options] if options else []
        env = dict(os.environ, OMP_NUM_THREADS=str(threads))
        done = subprocess.run(
            command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        (self.folder / f'{name}.log').write_text(done.stdout)
        if done.returncode:
            raise RuntimeError(f'{" ".join(command)} failed:\n{done.stdout[-2000:]}')
        return done.stdout


def run_all(runs: Sequence[Run], jobs: int) -> None:
    """Execute runs, several at a time, and say how far it is."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run.execute, threads): run for run in runs}
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            run = futures[future]
            result = run.result()
            miou = result['mIoU'] if run.test else result['validation_miou']
            split = 'test' if run.test else 'validation'
            lr = '' if run.lr is None else f', lr {run.lr:g}'
            print(
                f'[{done}/{len(runs)}] {run.row.name}, seed {run.seed}{lr}: '
                f'{miou:.2f} mIoU ({split})',
                flush=True,
            )
