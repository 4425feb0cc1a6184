"""What a study on real data runs: one job for each arm and seed, in a file that all parts read."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from mmseg_ssprompt.files import read_json, write_json

__all__ = ['Cache', 'Job', 'Plan', 'StudyError']


class StudyError(ValueError):
    """A study that cannot be written, run or gathered as it was asked for."""


@dataclass(frozen=True)
class Job:
    """One training with the validation at its end, or one test where nothing trains.

    Attributes:
        index: Its number in the array.
        arm: Its row, by what ``--arms`` is given.
        name: What the row is called in the table.
        seed: Of the noise on prompts, the order of images and the few-shot draw; None where nothing
            depends on one.
        trains: Whether there is anything to train.
        config: Below ``configs/``.
        options: All settings beside the config.
        lr: The learning rate; None where nothing trains.
        iterations: Those of the training; 0 where nothing trains.
    """

    index: int
    arm: str
    name: str
    seed: Optional[int]
    trains: bool
    config: str
    options: List[str]
    lr: Optional[float]
    iterations: int

    @property
    def place(self) -> str:
        """Its folder, in the study's."""
        return f'runs/{self.arm}' + ('' if self.seed is None else f'/seed_{self.seed}')

    def describe(self) -> str:
        """The job in a few words."""
        return f'job {self.index}, {self.name}' + (
            '' if self.seed is None else f', seed {self.seed}'
        )


@dataclass(frozen=True)
class Cache:
    """Embedded samples that jobs read, and that one command makes.

    Attributes:
        config: Below ``configs/``.
        split: ``'train'`` or ``'val'``.
        options: Settings beside the config.
        folder: Where they go.
    """

    config: str
    split: str
    options: List[str]
    folder: str


@dataclass(frozen=True)
class Plan:
    """A study on real data, as ``study.json`` in its folder has it.

    Attributes:
        base: A key of ``BASES``.
        data: A key of ``DATA``.
        few_shot: Whether training is on 16 images for each class.
        seeds: Those of each row.
        code: The digest of the package and the configs, which every result has to have.
        commit: Of the checkout.
        started_in: The folder to which the paths of data and weights are relative.
        jobs: In the order of the array.
        caches: What is made before; empty without cached configs.
    """

    base: str
    data: str
    few_shot: bool
    seeds: List[int]
    code: str
    commit: str
    started_in: str
    jobs: List[Job]
    caches: List[Cache]

    FILE = 'study.json'

    @property
    def key(self) -> str:
        """The name of its pages."""
        return f'{self.base}_{self.data}' + ('_16shot' if self.few_shot else '')

    def write(self, folder: Path) -> None:
        """Write it into a folder that has none, or the same.

        Raises:
            StudyError: If the folder has another study.
        """
        content = dataclasses.asdict(self)
        there = read_json(folder / self.FILE)
        if there is None and folder.is_dir() and any(folder.iterdir()):
            raise StudyError(
                f'{str(folder)!r}: expected a new or empty folder, or one with this study, found '
                'other files. Give another --out'
            )
        different = [key for key in content if there is not None and there.get(key) != content[key]]
        if set(different) - {'commit'}:
            raise StudyError(
                f'{str(folder)!r}: expected no study or this one, found one with other '
                f'{", ".join(different)}. Give another --out, or remove the folder with its results'
            )
        write_json(content, folder / self.FILE)

    @classmethod
    def read(cls, folder: Path) -> 'Plan':
        """The plan of a folder.

        Raises:
            StudyError: If there is none.
        """
        try:
            content = read_json(folder / cls.FILE)
            if content is None:
                raise StudyError(
                    f'{str(folder / cls.FILE)!r} does not exist: write the study first, with the '
                    'same command without --gather, or give the --out that it was written with'
                )
            jobs = [Job(**job) for job in content.pop('jobs')]
            caches = [Cache(**cache) for cache in content.pop('caches')]
            return cls(jobs=jobs, caches=caches, **content)
        except StudyError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise StudyError(
                f'{str(folder / cls.FILE)!r}: expected what this command writes, found '
                f'{type(error).__name__}: {error}. Write the study again, into another --out'
            ) from error
