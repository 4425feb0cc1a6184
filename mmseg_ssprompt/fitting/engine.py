"""The stages of ``fit`` after its data are known; what a stage has written is not done again."""

import contextlib
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
from mmengine.config import Config
from PIL import Image

from ..cache import CacheMaker, EmbeddedDataset, EmbeddedSample, Recipe, make_caches
from ..cache.recipe import CacheError
from ..files import read_json, replacing, write_atomically, write_json
from ..hooks.segment_visualizer import list_instances, list_panoptic, list_truth
from ..label_ids import LabelIds
from ..models.sam.segmenter import DECODED
from ..prompt_files.prompt_file import read_prompt_source, write_prompts
from ..segments import number_things
from ..weights.model_weights import hand_down_weights
from .bases import Base
from .config_text import ARMS, METRICS, RATES, Schedule, config_text, make_schedule
from .fit_data import FitData
from .progress import Reporter
from .running import evaluate, mean_figures, train
from .segment_files import write_segments

__all__ = ['Engine', 'choose_arms']

#: Objects with a lower score are not shown.
_MIN_SCORE = 0.3
#: Losses in the curves of a report are means of so many iterations.
_WINDOW = 10


class _Trained(NamedTuple):
    """What an arm has come to.

    Attributes:
        result: The entry of ``results.json``, without the figures of the test.
        checkpoint: Its prompts.
        config: Its last training.
        folds: Config and checkpoint of each fold at the iteration that was chosen; without
            cross-validation empty.
    """

    result: Dict[str, Any]
    checkpoint: Path
    config: Path
    folds: List[Any]


def choose_arms(base: Base, method: str) -> List[str]:
    """What is trained.

    Raises:
        ValueError: If there is no such method, or the base model has not got it.
    """
    if method == 'auto':
        return base.arms
    if method not in ARMS:
        raise ValueError(f'--method: expected auto or one of {", ".join(ARMS)}, found {method!r}')
    if method not in base.arms:
        raise ValueError(
            f'--method: expected auto or one of {", ".join(base.arms)} for {base.name}, found '
            f'{method!r}. {_explain_missing(base)}'
        )
    return [method]


def _explain_missing(base: Base) -> str:
    """Why a base model has not got all arms."""
    if base.kind == 'seem':
        return (
            f'{base.name} has scores of classes of its own, so it has no projection that could be '
            'trained.'
        )
    return (
        f'No projection from masks to texts comes with {base.name}: it trains in each arm, and '
        'without training the classes are chance.'
    )


class Engine:
    """What was found in photographs, and what becomes of it.

    Args:
        data: The pictures.
        base: The base model.
        base_name: Its key in ``BASES``.
        weights: ``model.weights``; empty where the base's own are meant.
        method: 'auto' or an arm.
        seed: Of all draws.
        reporter: Says how far it is.
    """

    def __init__(
        self,
        data: FitData,
        base: Base,
        base_name: str,
        weights: Mapping[str, str],
        method: str,
        seed: int,
        reporter: Reporter,
    ) -> None:
        self.data, self.base, self.base_name = data, base, base_name
        self.weights, self.method, self.seed = weights, method, seed
        self.reporter = reporter
        self.arms = choose_arms(base, method)
        self.out = data.out
        self.metric = METRICS[data.task]
        self.folds = data.num_folds
        self.has_test = 'test' in data.lists()
        self.batch_size = 4 if base.is_small and self._is_one_frame() else 1
        self.short, self.schedule = make_schedule(self.batch_size, self.folds > 0)
        self._seconds_file = self.out / 'runs' / 'seconds.json'
        self.seconds: Dict[str, float] = read_json(self._seconds_file) or {}
        self._trainings = len(self.arms) * (len(RATES) + 1 + self.folds)
        self._training = 0

    def _is_one_frame(self) -> bool:
        """Whether all pictures have features of one size, so that a batch can hold several."""
        shapes = {each.height / each.width for each in self.data.pictures}
        return self.base.frame is not None or len(shapes) == 1

    def run(self) -> Dict[str, Any]:
        """Do what is not done, and return the content of ``results.json``."""
        file = self.out / 'results.json'
        results = read_json(file)
        if results is None:
            try:
                self.embed()
                zero_shot = self._zero_shot()
                trained = [self._train_arm(arm) for arm in self.arms]
                results = self._finish(zero_shot, trained)
            finally:
                DECODED.clear()
            write_json(results, file)
        return results

    @contextlib.contextmanager
    def _stage(self, stage: str, title: str, total: int) -> Iterator[None]:
        """One step of a stage, whose seconds are added up, also over interruptions."""
        start = time.monotonic()
        with self.reporter.step(title, total):
            yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - start
        write_json(self.seconds, self._seconds_file)

    # ---- embedding

    def embed(self) -> None:
        """Encode each picture once."""
        cfg = Config.fromfile(self._zero_shot_config())
        options = dict(cfg.to_dict()['test_dataloader']['dataset'])
        for key in ('type', 'names', 'resize_labels'):
            options.pop(key, None)
        weights = cfg.to_dict()['model'].get('weights')
        options.update(hand_down_weights(dict(encoder=options['encoder'], weights=weights)))
        folder = Path(options.pop('cache_dir'))
        recipe = Recipe(**options)
        try:
            EmbeddedDataset(str(folder), **options)
            return
        except CacheError:
            if (folder / 'index.json').is_file():
                raise
        count = len(self.data.pictures)

        def report(done: int, total: int, sample: EmbeddedSample) -> None:
            self.reporter.advance_to(count - total + done)

        with self._stage('encoding', f'{self.base.name} encodes {count} pictures', count):
            make_caches(
                [CacheMaker(folder, recipe, report=report)],
                'Make room, and give the same command again, or give another --out',
            )

    # ---- configs

    def _config(
        self,
        file: Path,
        arm: Optional[str],
        schedule: Schedule,
        rate: float,
        lists: Mapping[str, Optional[str]],
    ) -> Path:
        text = config_text(
            *(file, self.data, self.base, self.weights, arm, schedule, rate, self.seed, lists),
            self.batch_size,
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text.encode())
        return file

    def _zero_shot_config(self) -> Path:
        file = self.out / 'runs' / 'zero-shot' / 'config.py'
        return self._config(file, None, self.schedule, 0.0, dict(test='pictures'))

    def _lists(self, fold: Optional[int] = None) -> Dict[str, Optional[str]]:
        test = 'test' if self.has_test else None
        if fold is not None:
            return dict(train=f'fold_{fold}_train', val=f'fold_{fold}_val', test=None)
        if self.folds:
            return dict(train='train', val=None, test=test)
        return dict(train='train', val='val', test=test or 'val')

    # ---- figures

    def _evaluate(
        self,
        title: str,
        config: Path,
        checkpoint: Optional[Path],
        names: str,
        file: Path,
        take: Optional[Callable[[Any], None]] = None,
    ) -> Dict[str, float]:
        """The figures of some pictures, or those that are in the file."""
        known = read_json(file)
        if known is None or take is not None:
            count = len(self.data.lists()[names])
            with self._stage('testing', f'{title} on {count} pictures', count):
                known = evaluate(
                    *(config, file.parent / 'logs', checkpoint, str(self.data.list_file(names))),
                    *(self.reporter.advance_to, take),
                )
            write_json(known, file)
        return {name: float('nan') if value is None else value for name, value in known.items()}

    def _zero_shot(self) -> Dict[str, float]:
        """The figures of handcrafted prompts on the pictures for validation."""
        config, folder = self._zero_shot_config(), self.out / 'runs' / 'zero-shot'
        names = [f'fold_{k}_val' for k in range(self.folds)] if self.folds else ['val']
        figures = [
            self._evaluate('zero-shot', config, None, name, folder / f'{name}.json')
            for name in names
        ]
        return mean_figures(figures)

    # ---- trainings

    def _train(self, title: str, config: Path, schedule: Schedule) -> Dict[str, Any]:
        folder = config.parent
        self._training += 1
        result = read_json(folder / 'result.json')
        if result is not None:
            return result
        title = f'{self._training}/{self._trainings} {title}'
        with self._stage('training', title, schedule.max_iters):
            return train(config, folder, self.metric, self.reporter.advance_to)

    def _score(self, figures: Mapping[str, Any]) -> float:
        value = figures.get(self.metric)
        return float('-inf') if value is None or value != value else float(value)

    def _train_arm(self, arm: str) -> _Trained:
        folder, title = self.out / 'runs' / arm, ARMS[arm]
        lists = self._lists(0 if self.folds else None)
        rates, short_runs = {}, []
        for rate in RATES:
            file = folder / f'rate_{rate:g}' / 'config.py'
            config = self._config(file, arm, self.short, rate, lists)
            run = self._train(f'{title}, short run with rate {rate:g}', config, self.short)
            short_runs.append(run)
            rates[rate] = self._score(run['validations'][-1])
        rate = max(RATES, key=lambda each: rates[each])
        trained = self._train_folds(arm, rate) if self.folds else self._train_once(arm, rate)
        seconds = trained.result['train_seconds'] + sum(each['seconds'] for each in short_runs)
        shown = {f'{each:g}': None if np.isinf(rates[each]) else rates[each] for each in RATES}
        trained.result.update(rates=shown, train_seconds=seconds)
        self.reporter.say(
            f'{title}: {self.metric} {self._score(trained.result["validation"]):.1f} after '
            f'{trained.result["best_iteration"]} iterations with rate {rate:g}'
        )
        return trained

    def _train_once(self, arm: str, rate: float) -> _Trained:
        folder = self.out / 'runs' / arm / 'final'
        config = self._config(folder / 'config.py', arm, self.schedule, rate, self._lists())
        run = self._train(f'{ARMS[arm]}, training', config, self.schedule)
        best = max(run['validations'], key=self._score)
        found = list(folder.glob(f'best_*_iter_{best["iteration"]}.pth'))
        if not found:  # no validation had a result, as where no object was found at all
            best = run['validations'][-1]
            found = [folder / f'iter_{best["iteration"]}.pth']
        (checkpoint,) = found
        result = self._describe(arm, rate, run, best, run['validations'])
        return _Trained(result, checkpoint, config, [])

    def _train_folds(self, arm: str, rate: float) -> _Trained:
        """Choose the iteration by all folds, and train so long on all pictures."""
        folder = self.out / 'runs' / arm
        configs, runs = [], []
        for fold in range(self.folds):
            file = folder / f'fold_{fold}' / 'config.py'
            configs.append(self._config(file, arm, self.schedule, rate, self._lists(fold)))
            title = f'{ARMS[arm]}, fold {fold + 1} of {self.folds}'
            runs.append(self._train(title, configs[-1], self.schedule))
        validations = [mean_figures(each) for each in zip(*(run['validations'] for run in runs))]
        best = max(validations, key=self._score)
        iteration = int(best['iteration'])
        schedule = self.schedule._replace(max_iters=iteration)
        file = folder / 'final' / 'config.py'
        config = self._config(file, arm, schedule, rate, self._lists())
        run = self._train(f'{ARMS[arm]}, training on all pictures', config, schedule)
        result = self._describe(arm, rate, run, best, validations)
        result['train_seconds'] += sum(each['seconds'] for each in runs)
        name = f'iter_{iteration}.pth'
        folds = [(each, each.parent / name) for each in configs]
        return _Trained(result, file.parent / name, config, folds)

    def _describe(
        self,
        arm: str,
        rate: float,
        run: Mapping[str, Any],
        best: Mapping[str, Any],
        validations: Sequence[Mapping[str, Any]],
    ) -> Dict[str, Any]:
        losses = run['losses']
        loss = [
            [min(start + _WINDOW, len(losses)), float(np.mean(losses[start : start + _WINDOW]))]
            for start in range(0, len(losses), _WINDOW)
        ]
        return dict(
            name=arm,
            title=ARMS[arm],
            learning_rate=rate,
            rates={},
            iterations=len(losses),
            best_iteration=int(best['iteration']),
            validation={name: value for name, value in best.items() if name != 'iteration'},
            test=None,
            trainable_parameters=run['trainable_parameters'],
            train_seconds=run['seconds'],
            curve=dict(
                loss=loss,
                validation=[[int(v['iteration']), v.get(self.metric)] for v in validations],
            ),
        )

    # ---- what is looked at once, at the end

    def _finish(self, zero_shot: Dict[str, float], trained: List[_Trained]) -> Dict[str, Any]:
        """Test all arms, write predictions, config and prompts, and return all results."""
        order = sorted(trained, key=lambda each: each.result['trainable_parameters'])
        best = max(order, key=lambda each: self._score(each.result['validation']))
        runs, config = self.out / 'runs', self._zero_shot_config()
        shown = 'test' if self.has_test else 'val'
        drawings = [
            _Predictions(self.data, self.out / 'predictions' / name)
            for name in ('zero-shot', 'best')
        ]
        of_zero_shot = None
        if self.has_test:
            of_zero_shot = self._evaluate(
                *('zero-shot, test', config, None, 'test', runs / 'zero-shot' / 'test.json'),
                drawings[0],
            )
            for each in trained:
                arm = each.result['name']
                each.result['test'] = self._evaluate(
                    *(f'{ARMS[arm]}, test', each.config, each.checkpoint, 'test'),
                    runs / arm / 'test.json',
                    drawings[1] if each is best else None,
                )
        else:
            names = [f'fold_{k}_val' for k in range(self.folds)] if self.folds else ['val']
            models = best.folds or [(best.config, best.checkpoint)]
            for name, (own, checkpoint) in zip(names, models):
                file = runs / 'zero-shot' / f'{name}.json'
                self._evaluate('zero-shot', config, None, name, file, drawings[0])
                file = runs / best.result['name'] / f'{name}.json'
                self._evaluate('best', own, checkpoint, name, file, drawings[1])
        self._write_best(best)
        arms = [each.result for each in trained]
        return dict(
            base=self.base_name,
            task=self.data.task,
            metric=self.metric,
            method=self.method,
            seed=self.seed,
            cross_validated=self.folds > 0,
            zero_shot=dict(validation=zero_shot, test=of_zero_shot),
            arms=arms,
            best=best.result['name'],
            confusion=drawings[1].confusion(),
            pictures_shown=shown,
            notes=self._notes(zero_shot, best),
            seconds=self.seconds,
        )

    def _write_best(self, best: _Trained) -> None:
        """The config as a short text, and the prompts as a file."""
        arm, rate = best.result['name'], best.result['learning_rate']
        schedule = self.schedule
        if self.folds:
            schedule = schedule._replace(max_iters=best.result['best_iteration'])
        self._config(self.out / 'config.py', arm, schedule, rate, self._lists())
        source = read_prompt_source(best.checkpoint)
        meta = dict(
            classes=list(self.data.classes),
            iter=best.result['best_iteration'],
            cfg=(self.out / 'config.py').read_text(encoding='utf-8'),
        )
        write_prompts(source.state_dict, meta, self.out / 'prompts.safetensors')

    def _notes(self, zero_shot: Mapping[str, float], best: _Trained) -> List[str]:
        notes = []
        if self.method == 'auto' and len(self.base.arms) < len(ARMS):
            notes.append(_explain_missing(self.base))
        if self.base.kind == 'sam' and not self.base.has_projection:
            notes.append(
                'The projection of the zero-shot row is random: it says what chance gives, and not '
                f'what {self.base.name} knows.'
            )
        if self._score(zero_shot) >= self._score(best.result['validation']):
            notes.append(
                'No training was better than the handcrafted prompts on the pictures for '
                'validation.'
            )
        if self.folds:
            notes.append(
                f'There are few pictures, so figures of validation are means of {self.folds} '
                'folds, and the last training is on all pictures but those of the test.'
            )
        return notes


class _Predictions:
    """Writes predictions as they come, and counts which classes are taken for which."""

    def __init__(self, data: FitData, folder: Path) -> None:
        self._data, self._folder = data, folder
        self._ids: LabelIds = data.label_ids
        count = len(self._ids.channels)
        self._counts = np.zeros((count, count), np.int64)
        self._names = {Path(data.images, each.name).as_posix(): each.name for each in data.pictures}

    def confusion(self) -> Optional[List[List[int]]]:
        """Pixels by true and predicted class; None of objects."""
        if self._data.task != 'semantic':
            return None
        counts: List[List[int]] = self._counts.tolist()
        return counts

    def __call__(self, sample: Any) -> None:
        """Take a prediction."""
        name = self._names[Path(sample.img_path).as_posix()]
        file = (self._folder / name).with_suffix('.png')
        file.parent.mkdir(parents=True, exist_ok=True)
        if self._data.task != 'semantic':
            self._write_segments(sample, name)
            return
        labels = sample.pred_sem_seg.data[0].cpu()
        with replacing(file) as temporary:
            Image.fromarray(labels.numpy().astype(self._ids.dtype)).save(temporary)
        truth = self._ids.to_channels(sample.gt_sem_seg.data[0].cpu()).numpy()
        found = self._ids.to_channels(labels).numpy()
        count = len(self._ids.channels)
        known = truth < count
        pairs = truth[known].astype(np.int64) * count + found[known]
        self._counts += np.bincount(pairs, minlength=count**2).reshape(count, count)

    def _write_segments(self, sample: Any, name: str) -> None:
        things = number_things(self._data.classes, self._data.thing_classes)
        if self._data.task == 'panoptic':
            found = list_panoptic(sample)
        else:
            found = list_instances(sample, _MIN_SCORE)
        folders = {self._folder: found, self._folder.parent / 'truth': list_truth(sample, things)}
        for folder, segments in folders.items():
            write_segments(segments, (folder / name).with_suffix('.json'))
