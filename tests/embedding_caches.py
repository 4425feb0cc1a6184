"""Small caches of ShapesWorld, embedded by sam-tiny as it is shipped."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

from mmseg_ssprompt.cache import Embedder, Recipe, SourceViews, fill_cache, finish_cache
from mmseg_ssprompt.weights.model_weights import hand_down_weights
from tiny_model import tiny_config

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
RANDOM = [dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion')]
PACK = [dict(type='PackSegInputs')]


def shapes(images: int = 3, pipeline: List[dict] = LOAD + PACK, **options: Any) -> Dict[str, Any]:
    """Config of the first scenes."""
    return dict(type='ShapesWorldDataset', num_images=images, pipeline=pipeline, **options)


def recipe_of(dataset: Dict[str, Any], **options: Any) -> Recipe:
    """With the shipped encoder and data preprocessor."""
    model = tiny_config().model
    encoder = hand_down_weights(model.to_dict())['backbone']
    recipe = Recipe(dataset, encoder, model.data_preprocessor.to_dict())
    return replace(recipe, **options)


def fill(folder: Path, recipe: Recipe, world_size: int = 1) -> List[int]:
    """Let each rank do its part, the last first; how many samples each has computed."""
    dataset = recipe.build_dataset()
    views, embed = SourceViews(dataset, recipe.views, recipe.seed), Embedder(recipe)
    key = recipe.key(dataset)
    computed = [
        fill_cache(folder, key, views, embed, rank=rank, world_size=world_size, files=views.files)
        for rank in reversed(range(world_size))
    ]
    finish_cache(folder, key, dataset.metainfo, len(views))
    return computed[::-1]


def as_dataset(folder: Path, recipe: Recipe, **options: Any) -> Dict[str, Any]:
    """Config of the EmbeddedDataset that reads it."""
    return dict(vars(recipe), type='EmbeddedDataset', cache_dir=str(folder), **options)


def contents(folder: Path) -> Dict[str, bytes]:
    """Every file by its name."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}
