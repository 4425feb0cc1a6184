"""The words that learned semantic prompts are compared with."""

from pathlib import Path
from typing import Dict, List, Sequence

from ..class_names import normalize_class_name
from ..miniature.shapes_tables import WORLDS
from ..readable_names import readable_class_names

__all__ = ['VOCABULARY_DATASETS', 'default_vocabulary', 'merge_words', 'read_words']

#: The data sets that the project has configs for.
VOCABULARY_DATASETS = (
    'ADE20KDataset',
    'BDD100KDataset',
    'CityscapesDataset',
    'MapillaryDataset_v1',
    'PascalContextDataset',
    'PascalContextDataset59',
)


def default_vocabulary(with_worlds: bool = False) -> List[str]:
    """The class names of the project's data sets, as people write them.

    Args:
        with_worlds: Whether the names and synonyms of all of ShapesWorld's worlds are added.
            sam-tiny's text encoder was trained on those of the pre-training world.
            Defaults to False.
    """
    datasets = [readable_class_names(dataset) for dataset in VOCABULARY_DATASETS]
    return merge_words(*datasets, _world_names() if with_worlds else [])


def _world_names() -> List[str]:
    things = [(c.name, *c.synonyms) for world in WORLDS.values() for c in world.things]
    stuff = [(c.name, *c.synonyms) for world in WORLDS.values() for c in world.stuff]
    return [name for names in (*things, *stuff) for name in names]


def merge_words(*lists: Sequence[str]) -> List[str]:
    """All words once, in order; upper and lower case are the same to CLIP."""
    words: Dict[str, str] = {}
    for name in (normalize_class_name(word) for words_ in lists for word in words_):
        words.setdefault(name.lower(), name)
    return list(words.values())


def read_words(file: Path) -> List[str]:
    """Words of a text file (UTF-8), one a line; blank lines do not count.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no text, or there is no word in it.
    """
    if not file.is_file():
        raise FileNotFoundError(f'file of words {str(file)!r} does not exist')
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'file of words {str(file)!r}: expected UTF-8 text ({error})') from None
    words = merge_words([line for line in lines if line.strip()])
    if not words:
        raise ValueError(f'file of words {str(file)!r} is empty: expected one word a line')
    return words
