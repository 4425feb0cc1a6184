"""What to do next, by rules that the report states."""

from typing import Any, Iterator, List, Mapping, NamedTuple, Sequence

from .fit_data import FitData
from .report_tables import MEASURES, ClassRow, last_iteration

__all__ = ['RULES', 'Advice', 'find_advice']

#: A class in fewer training pictures than this lacks examples.
FEW_PICTURES = 3
#: A class that is found badly lacks examples below this number of training pictures.
MORE_PICTURES = 10
#: A class is found badly below this share of the mean over all classes.
WEAK = 0.6
#: A class is taken for another one where that has at least this share of its pixels, in percent.
CONFUSED = 20.0
#: A class is small where it covers less of a picture that shows it, in percent.
SMALL = 0.5
#: Two arms are close, or a part differs from another, below or above so many points.
CLOSE, APART = 1.0, 10.0
#: A part with fewer pictures says little.
FEW_JUDGED = 20
#: So much of the labels ignored is worth a look, in percent.
MUCH_IGNORED = 20.0
#: Advice of one kind is given for so many classes at most.
_MOST = 5
#: What parts of the pictures are called.
_PARTS = dict(train='training', val='validation', test='test')

RULES = (
    f'A class lacks examples where fewer than {FEW_PICTURES} training pictures show it, or fewer '
    f'than {MORE_PICTURES} where its result is below {100 * WEAK:.0f} % of the mean. Two classes '
    f'are confused where {CONFUSED:.0f} % of the pixels of one are taken for the other. A class '
    f'is small where it covers less than {SMALL} % of the pictures that show it. Arms are close '
    f'within {CLOSE:.0f} point, and parts differ above {APART:.0f} points. A part of fewer than '
    f'{FEW_JUDGED} pictures says little.'
)


class Advice(NamedTuple):
    """Something to do, and what makes it worth while."""

    what: str
    why: str


def find_advice(
    data: FitData,
    results: Mapping[str, Any],
    rows: Sequence[ClassRow],
    confusions: Sequence[Mapping[str, Any]],
) -> List[Advice]:
    """Find what to do next, the most useful first.

    Args:
        data: What was fitted.
        results: The content of ``results.json``.
        rows: Of the classes.
        confusions: Pairs of classes with ``true``, ``predicted`` and ``share``, in percent, the
            greatest share first.
    """
    best = next(arm for arm in results['arms'] if arm['name'] == results['best'])
    part = results['pictures_shown']
    return [
        *_on_base(results),
        *_on_gain(results, best),
        *_on_classes(rows, part),
        *_on_confusions(confusions),
        *_on_training(best),
        *_on_parts(data, results, best),
        *_on_labels(data),
    ]


def _on_base(results: Mapping[str, Any]) -> Iterator[Advice]:
    base = results['base']
    if base.endswith('-tiny'):
        larger = 'seem-focal-t' if base.startswith('seem') else 'sam-vit-b'
        yield Advice(
            f'Take a large base model for photographs: --base {larger} with its published weights.',
            f'{base} is for trying the commands out: it has learned from drawn shapes alone.',
        )


def _on_gain(results: Mapping[str, Any], best: Mapping[str, Any]) -> Iterator[Advice]:
    metric = results['metric']
    mean = MEASURES[metric][0]
    before, after = results['zero_shot']['validation'][metric], best['validation'][metric]
    if before is not None and after is not None and after <= before:
        yield Advice(
            'Label more pictures, or keep the zero-shot prompts.',
            f'Learning has not helped: {after:.1f} {mean} on validation, {before:.1f} without.',
        )


def _on_classes(rows: Sequence[ClassRow], part: str) -> Iterator[Advice]:
    scores = [row.after for row in rows if row.after is not None]
    mean = sum(scores) / len(scores) if scores else 0.0
    weak = [row for row in rows if row.after is not None and row.after < WEAK * mean]
    few = [
        row
        for row in rows
        if row.train_pictures < FEW_PICTURES or (row in weak and row.train_pictures < MORE_PICTURES)
    ]
    few.sort(key=lambda row: (row.train_pictures, row.after or 0.0))
    for row in few[:_MOST]:
        shows = 'picture shows' if row.train_pictures == 1 else 'pictures show'
        result = '' if row.after is None else f', and its result is {row.after:.1f}'
        yield Advice(
            f'Label more pictures with “{row.name}”.',
            f'It lacks examples: {row.train_pictures} training {shows} it{result}.',
        )
    small = [row for row in weak if row.cover is not None and row.cover < SMALL]
    if small:
        names = _enumerate([row.name for row in small])
        covers = ' and '.join(f'{row.cover:.2f} %' for row in small[:2])
        yield Advice(
            f'Show {names} larger: cut pictures into parts, or take a base model with larger '
            'inputs.',
            f'What is small gets few places of the embedding: {covers} of a picture is covered '
            'where it is seen.',
        )
    unseen = [row.name for row in rows if row.shown_pictures == 0]
    if unseen:
        yield Advice(
            f'Label pictures with {_enumerate(unseen)} for the {_PARTS[part]} part.',
            'No picture of that part shows it, so its result is not known.',
        )


def _on_confusions(confusions: Sequence[Mapping[str, Any]]) -> Iterator[Advice]:
    for each in confusions[:3]:
        if each['share'] >= CONFUSED:
            yield Advice(
                f'Look at the labels of “{each["true"]}” beside “{each["predicted"]}”.',
                f'{each["share"]:.0f} % of the pixels of “{each["true"]}” are taken for '
                f'“{each["predicted"]}”. Where labels agree, pictures with both help.',
            )


def _on_training(best: Mapping[str, Any]) -> Iterator[Advice]:
    rates = sorted(float(rate) for rate in best['rates'])
    if len(rates) > 1 and best['learning_rate'] in (rates[0], rates[-1]):
        lower = best['learning_rate'] == rates[0]
        yield Advice(
            f'Try a {"lower" if lower else "higher"} learning rate in config.py.',
            f'{best["learning_rate"]:g} was the best of {len(rates)} and is the '
            f'{"lowest" if lower else "highest"} of them.',
        )
    last = last_iteration(best)
    if best['best_iteration'] >= last:
        yield Advice(
            'Train longer: set more iterations in config.py.',
            f'The validation result was best at the last of {last} iterations.',
        )


def _on_parts(
    data: FitData, results: Mapping[str, Any], best: Mapping[str, Any]
) -> Iterator[Advice]:
    metric = results['metric']
    mean = MEASURES[metric][0]
    split = 'train' if results['cross_validated'] else 'val'
    counts = dict(val=len(data.part(split)), test=len(data.part('test')))
    judged = [part for part in ('val', 'test') if 0 < counts[part] < FEW_JUDGED]
    if judged:
        found = ' and '.join(
            f'{counts[part]} {_PARTS[part]} picture{"s" * (counts[part] != 1)}' for part in judged
        )
        yield Advice(
            'Label more pictures before you compare arms that are close.',
            f'With {found}, a result changes by points when other pictures are drawn.',
        )
    least = best['validation'][metric]
    rivals = [
        arm
        for arm in results['arms']
        if None not in (least, arm['validation'][metric])
        and arm['validation'][metric] >= least - CLOSE
    ]
    cheapest = min([best, *rivals], key=lambda arm: arm['trainable_parameters'])
    if cheapest is not best:
        yield Advice(
            f'Consider “{cheapest["title"]}”: --method {cheapest["name"]}.',
            f'It is within {CLOSE:.0f} point of the best on validation, with '
            f'{cheapest["trainable_parameters"]:,} trained parameters instead of '
            f'{best["trainable_parameters"]:,}.',
        )
    if best['test'] is not None:
        validation, test = best['validation'][metric], best['test'][metric]
        if None not in (validation, test) and abs(validation - test) > APART:
            yield Advice(
                'Look whether validation and test pictures show the same things.',
                f'The best arm has {validation:.1f} {mean} on the one and {test:.1f} on the other.',
            )


def _on_labels(data: FitData) -> Iterator[Advice]:
    ignored = 100 * data.ignored_share
    if ignored > MUCH_IGNORED:
        yield Advice(
            'Label what is ignored, if it is one of the classes.',
            f'{ignored:.0f} % of all pixels are ignored: nothing is learned there, and nothing '
            'is measured.',
        )
    if data.left_out:
        count = len(data.left_out)
        yield Advice(
            f'Mend {"the file that was" if count == 1 else f"the {count} files that were"} '
            'left out.',
            'They are listed under “Data” with the reason.'
            if count > 1
            else 'It is named under “Data” with the reason.',
        )


def _enumerate(names: Sequence[str]) -> str:
    shown = [f'“{name}”' for name in names[:_MOST]]
    if len(names) > _MOST:
        return ', '.join(shown) + f' and {len(names) - _MOST} more classes'
    return ', '.join(shown[:-1]) + ' and ' + shown[-1] if len(shown) > 1 else shown[0]
