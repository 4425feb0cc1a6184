"""The stages of ``fit`` after its data are known; what a stage has written is not done again."""

import contextlib
import time
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
)

import numpy as np
from mmengine.config import Config

from ..cache import CacheMaker, EmbeddedDataset, EmbeddedSample, Recipe, make_caches
from ..cache.recipe import CacheError
from ..files import read_json, write_atomically, write_json
from ..models.sam.segmenter import DECODED
from ..prompt_files.prompt_file import read_prompt_source, write_prompts
from ..weights.model_weights import hand_down_weights
from .bases import ARMS, Base, choose_arms
from .config_text import METRICS, RATES, Schedule, config_text, make_schedule
from .fit_data import FitData
from .predicted_files import PredictedFiles
from .progress import Reporter
from .results import describe_arm, find_notes
from .running import evaluate, mean_figures, train

__all__ = ['Engine']

#: The lists of pictures of 'train', 'val' and 'test'.
_Lists = Mapping[str, Optional[str]]


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
        #: The lists of pictures whose figures are those of validation.
        self.judged = [f'fold_{k}_val' for k in range(self.folds)] if self.folds else ['val']
        # A batch can hold several pictures where their features have one size.
        is_one_frame = base.frame is not None or (
            len({each.height / each.width for each in data.pictures}) == 1
        )
        self.batch_size = 4 if base.is_small and is_one_frame else 1
        self.short, self.schedule = make_schedule(self.batch_size, self.folds > 0)
        self._seconds_file = self.out / 'runs' / 'seconds.json'
        self.seconds: Dict[str, float] = read_json(self._seconds_file) or {}
        self._trainings = len(self.arms) * (len(RATES) + 1 + self.folds)
        self._training = 0

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
        lists: _Lists,
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

    def _lists(self, fold: Optional[int] = None) -> _Lists:
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
        config = self._zero_shot_config()
        return mean_figures(
            [
                self._evaluate('zero-shot', config, None, name, config.parent / f'{name}.json')
                for name in self.judged
            ]
        )

    # ---- trainings

    def _train(
        self, arm: str, name: str, title: str, schedule: Schedule, rate: float, lists: _Lists
    ) -> Tuple[Path, Dict[str, Any]]:
        """Write a config, and train what it says; the config and the result of the training."""
        file = self.out / 'runs' / arm / name / 'config.py'
        config = self._config(file, arm, schedule, rate, lists)
        self._training += 1
        result = read_json(file.parent / 'result.json')
        if result is None:
            title = f'{self._training}/{self._trainings} {ARMS[arm]}, {title}'
            with self._stage('training', title, schedule.max_iters):
                result = train(config, file.parent, self.metric, self.reporter.advance_to)
        return config, result

    def _score(self, figures: Mapping[str, Any]) -> float:
        value = figures.get(self.metric)
        return float('-inf') if value is None or value != value else float(value)

    def _train_arm(self, arm: str) -> _Trained:
        lists = self._lists(0 if self.folds else None)
        rates, short_runs = {}, []
        for rate in RATES:
            title = f'short run with rate {rate:g}'
            _, run = self._train(arm, f'rate_{rate:g}', title, self.short, rate, lists)
            short_runs.append(run)
            rates[rate] = self._score(run['validations'][-1])
        rate = max(RATES, key=lambda each: rates[each])
        trained = self._train_folds(arm, rate) if self.folds else self._train_once(arm, rate)
        seconds = trained.result['train_seconds'] + sum(each['seconds'] for each in short_runs)
        shown = {f'{each:g}': None if np.isinf(rates[each]) else rates[each] for each in RATES}
        trained.result.update(rates=shown, train_seconds=seconds)
        self.reporter.say(
            f'{ARMS[arm]}: {self.metric} {self._score(trained.result["validation"]):.1f} after '
            f'{trained.result["best_iteration"]} iterations with rate {rate:g}'
        )
        return trained

    def _train_once(self, arm: str, rate: float) -> _Trained:
        config, run = self._train(arm, 'final', 'training', self.schedule, rate, self._lists())
        best = max(run['validations'], key=self._score)
        found = list(config.parent.glob(f'best_*_iter_{best["iteration"]}.pth'))
        if not found:  # no validation had a result, as where no object was found at all
            best = run['validations'][-1]
            found = [config.with_name(f'iter_{best["iteration"]}.pth')]
        (checkpoint,) = found
        result = describe_arm(arm, rate, self.metric, run, best, run['validations'])
        return _Trained(result, checkpoint, config, [])

    def _train_folds(self, arm: str, rate: float) -> _Trained:
        """Choose the iteration by all folds, and train so long on all pictures."""
        configs, runs = [], []
        for fold in range(self.folds):
            title, lists = f'fold {fold + 1} of {self.folds}', self._lists(fold)
            config, run = self._train(arm, f'fold_{fold}', title, self.schedule, rate, lists)
            configs.append(config)
            runs.append(run)
        validations = [mean_figures(each) for each in zip(*(run['validations'] for run in runs))]
        best = max(validations, key=self._score)
        iteration = int(best['iteration'])
        schedule = self.schedule._replace(max_iters=iteration)
        title = 'training on all pictures'
        config, run = self._train(arm, 'final', title, schedule, rate, self._lists())
        result = describe_arm(arm, rate, self.metric, run, best, validations)
        result['train_seconds'] += sum(each['seconds'] for each in runs)
        name = f'iter_{iteration}.pth'
        folds = [(each, each.with_name(name)) for each in configs]
        return _Trained(result, config.with_name(name), config, folds)

    # ---- what is looked at once, at the end

    def _finish(self, zero_shot: Dict[str, float], trained: List[_Trained]) -> Dict[str, Any]:
        """Test all arms, write predictions, config and prompts, and return all results."""
        order = sorted(trained, key=lambda each: each.result['trainable_parameters'])
        best = max(order, key=lambda each: self._score(each.result['validation']))
        runs, config = self.out / 'runs', self._zero_shot_config()
        before, after = (
            PredictedFiles(self.data, self.out / 'predictions' / name)
            for name in ('zero-shot', 'best')
        )
        of_zero_shot = None
        if self.has_test:
            of_zero_shot = self._evaluate(
                *('zero-shot, test', config, None, 'test', runs / 'zero-shot' / 'test.json'),
                before,
            )
            for each in trained:
                arm = each.result['name']
                each.result['test'] = self._evaluate(
                    *(f'{ARMS[arm]}, test', each.config, each.checkpoint, 'test'),
                    runs / arm / 'test.json',
                    after if each is best else None,
                )
        else:
            models = best.folds or [(best.config, best.checkpoint)]
            for name, (own, checkpoint) in zip(self.judged, models):
                file = runs / 'zero-shot' / f'{name}.json'
                self._evaluate('zero-shot', config, None, name, file, before)
                file = runs / best.result['name'] / f'{name}.json'
                self._evaluate('best', own, checkpoint, name, file, after)
        self._write_best(best)
        return dict(
            base=self.base_name,
            task=self.data.task,
            metric=self.metric,
            method=self.method,
            seed=self.seed,
            cross_validated=self.folds > 0,
            zero_shot=dict(validation=zero_shot, test=of_zero_shot),
            arms=[each.result for each in trained],
            best=best.result['name'],
            confusion=after.confusion(),
            pictures_shown='test' if self.has_test else 'val',
            notes=find_notes(
                *(self.base, self.method, self.folds, self._score(zero_shot)),
                self._score(best.result['validation']),
            ),
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
