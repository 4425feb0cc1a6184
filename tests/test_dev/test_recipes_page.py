"""The table of recipes beside the fine-tuned decoder."""

import json

from dev import recipes_page
from dev.recipes_page import DECODER, MOST_PARAMETERS, PLACES, format_recipes
from dev.studies.recipes import RECIPES


def test_each_recipe_is_compared_with_the_decoder_of_its_place(tmp_path):
    def row(place, recipe, miou, parameters):
        return dict(name=f'{place}: {recipe}', miou=miou, trainable_parameters=parameters)

    first, second = PLACES[:2]
    rows = [
        row(first, 'handcrafted prompts', [20.0, 20.0], 0),
        row(first, DECODER, [70.0, 72.0], 400_000),
        row(first, 'above', [71.0, 73.5], 650),
        row(first, 'below', [60.0, 62.1], MOST_PARAMETERS),
        row(first, 'near', [69.0, 72.5], 13_002),
        row(first, 'large', [80.0, 80.0], MOST_PARAMETERS + 1),
        row(second, DECODER, [50.0, 52.0], 400_000),
        row(second, 'above', [40.0, 42.1], 700),
        row(f'{first} to {second}', 'above', [10.0, 10.0], 0),
    ]
    (tmp_path / 'recipes.json').write_text(json.dumps(dict(rows=rows)))
    lines = [line.split('|')[1:4] for line in format_recipes(tmp_path).splitlines()[2:]]
    cells = {name.strip(): [own.strip() for own in others] for name, *others in lines}
    assert cells == {
        f'{DECODER} (400,000)': ['71.0', '51.0'],
        'above (650 to 700)': ['reached: +1.2 ± 3.2', 'below: -9.9 ± 0.6'],
        'below (30,000)': ['below: -9.9 ± 0.6', ''],
        'near (13,002)': ['not told apart: -0.2 ± 9.5', ''],
    }


def test_the_study_has_these_places_and_the_decoder_in_each():
    names = {row.name for row in RECIPES.rows}
    assert {f'{place}: {recipes_page.DECODER}' for place in PLACES} <= names
