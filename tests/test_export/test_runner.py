"""run.py is short, needs three packages, and does to pictures and segments what PyTorch does."""

import ast
import importlib
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mmseg_ssprompt.datasets.seem_resize import seem_size
from mmseg_ssprompt.export import exporting
from mmseg_ssprompt.export.graphs import DecoderGraph, output_names
from mmseg_ssprompt.export.runner import merging
from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.heads.outputs import instances, panoptic
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput
from mmseg_ssprompt.models.segmentors.resized_masks import resize_masks
from mmseg_ssprompt.prediction.prediction import FoundObject, paint_objects
from mmseg_ssprompt.prediction.tiles import lay_tiles
from own_photographs import draw_photograph

RUNNER = Path(merging.__file__).parent
THINGS = (0, 2, 4)
IDS = LabelIds(5)
MODEL = dict(
    classes=list('abcde'), bits=8, void_id=255, first_class=0, things=list(THINGS),
    resize=dict(kind='within', scale=[96, 96]), frame=[96, 96], divisor=96, tiles=None,
    min_score=0.3, overlap_threshold=0.2,
)  # fmt: skip
OTHERS = {'itertools', 'merging', 'numpy', 'onnxruntime', 'PIL'}


@pytest.fixture
def runner(tmp_path, monkeypatch) -> ModuleType:
    """run.py of a folder, as a module; what graphs give is for tests to say."""
    folder = tmp_path / 'exported'
    folder.mkdir()
    for name in exporting._RUNNER_FILES:
        shutil.copy(RUNNER / name, folder)
    (folder / 'model.json').write_text(json.dumps(MODEL))
    monkeypatch.syspath_prepend(folder)
    for name in ('run', 'merging'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module('run')
    yield module
    for name in ('run', 'merging'):
        sys.modules.pop(name, None)


def test_it_is_short_and_needs_three_packages():
    assert len((RUNNER / 'run.py').read_text().splitlines()) <= 60
    for name in exporting._RUNNER_FILES:
        tree = ast.parse((RUNNER / name).read_text())
        imported = [
            node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        names = {getattr(node, 'module', None) or node.names[0].name for node in imported}
        assert {each.partition('.')[0] for each in names} <= OTHERS | sys.stdlib_module_names


def random_case(prompts: int = 19, classes: int = 5, seed: int = 0):
    """Smooth masks, and class logits of which some are sure."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 6 * torch.randn(1, prompts, 4, 5, generator=generator)
    masks = F.interpolate(coarse, size=(20, 30), mode='bilinear', align_corners=False)[0]
    return masks, 4 * torch.randn(prompts, classes + 1, generator=generator)


def decode(outputs, masks, logits, quality=None, output_size=(33, 47), **settings):
    """What the decoder's graph gives for masks (N, h, w), by name, as arrays of one image."""
    output = HeadOutput(masks[None], logits[None], None if quality is None else quality[None])
    model = SimpleNamespace(
        decode_head=lambda features: output,
        outputs=outputs,
        test_cfg=dict(
            dict(object_mask_threshold=0.3, max_per_image=12, predicted_iou=quality is not None),
            **settings,
        ),
        label_ids=IDS,
    )
    graph = DecoderGraph(model, ['embedding'], (4, 4))
    embedding = torch.zeros(1, 2, 20, 30)
    found = graph(embedding, torch.tensor([70, 111]), torch.tensor(output_size))
    return {name: value[0].numpy() for name, value in zip(output_names(outputs), found)}


def resize(masks, size=(33, 47), bicubic=False):
    meta = dict(padding_size=(0, 9, 0, 10), ori_shape=size)
    return resize_masks(masks, (80, 120), meta, bicubic)


@pytest.mark.parametrize('seed', range(6))
def test_segments_are_those_of_pytorch(seed):
    masks, logits = random_case(prompts=30, seed=seed)
    quality = torch.rand(len(masks)) if seed % 2 else None
    found = decode(('panoptic',), masks, logits, quality)
    expected = panoptic(masks, logits, THINGS, 0.3, 0.2, quality, resize)
    segment_map, infos = merging.merge_panoptic(found, MODEL)
    assert len(infos) > 1
    assert np.array_equal(segment_map, expected.data[0])
    assert [{k: v for k, v in info.items() if k != 'score'} for info in infos] == [
        {k: v for k, v in info.items() if k != 'score'} for info in expected.segments_info
    ]
    scores = [[info['score'] for info in each] for each in (infos, expected.segments_info)]
    assert scores[0] == pytest.approx(scores[1])


def test_nothing_that_is_sure_makes_no_segment():
    masks, logits = random_case()
    logits[:, -1] += 99
    found = decode(('panoptic',), masks, logits)
    label_map, segment_map, infos = merging.gather(found, MODEL)
    assert (infos, segment_map.any()) == ([], False)
    assert set(np.unique(label_map)) == {255}


@pytest.mark.parametrize('seed', range(6))
def test_objects_are_those_of_pytorch(seed):
    masks, logits = random_case(prompts=30, seed=seed)
    quality = torch.rand(len(masks)) if seed % 2 else None
    found = decode(('instances',), masks, logits, quality)
    expected = instances(masks, logits, THINGS, 12, quality, resize)
    own, infos = merging.merge_instances(found, MODEL)
    # Those without pixels are left out, as in ``predict``.
    kept = [i for i in range(len(expected)) if expected.masks[i].any()]
    assert len(kept) > 2
    assert np.array_equal(np.stack(own), expected.masks[kept].numpy())
    assert [info['category_id'] for info in infos] == expected.labels[kept].tolist()
    assert [info['score'] for info in infos] == pytest.approx(expected.scores[kept].tolist())
    left, top, right, bottom = expected.bboxes[kept[0]].tolist()
    assert infos[0]['bbox'] == [left, top, right - left, bottom - top]
    objects = [
        FoundObject(info['category_id'], True, info['score'], (0, 0), mask)
        for info, mask in zip(infos, own)
    ]
    label_map, segment_map, _ = merging.gather(found, MODEL)
    assert np.array_equal(label_map, paint_objects(objects, (33, 47), IDS))
    assert np.array_equal(segment_map > 0, label_map < 255)


@pytest.mark.parametrize('bicubic', [False, True])
def test_label_maps_are_those_of_masks_or_scores(bicubic):
    masks, logits = random_case(prompts=19)
    semantic = torch.einsum('nc,nhw->chw', logits.softmax(-1)[:, :-1], masks.sigmoid())
    if bicubic:
        sized = resize(masks, bicubic=True).sigmoid()
        expected = torch.einsum('nc,nhw->chw', logits.softmax(-1)[:, :-1], sized)
    else:
        expected = resize(semantic)
    model = SimpleNamespace(add_rest=lambda scores, dim: scores)
    model.label_scores = lambda output: semantic[None]
    output = HeadOutput(masks[None], logits[None])

    class Head:
        add_rest, label_scores = staticmethod(model.add_rest), staticmethod(model.label_scores)

        def __call__(self, features: ImageFeatures) -> HeadOutput:
            return output

    settings = dict(resize='masks') if bicubic else {}
    segmentor = SimpleNamespace(
        decode_head=Head(), outputs=('semantic',), test_cfg=settings, label_ids=IDS
    )
    graph = DecoderGraph(segmentor, ['embedding'], (4, 4))
    sizes = torch.tensor([70, 111]), torch.tensor([33, 47])
    labels, score = graph(torch.zeros(1, 2, 20, 30), *sizes)
    assert torch.equal(labels[0].long(), expected.argmax(0))
    torch.testing.assert_close(score[0], expected.amax(0))


def test_sizes_are_those_of_the_pipelines():
    rng = np.random.default_rng(0)
    for height, width in rng.integers(1, 3000, (400, 2)).tolist():
        rule = dict(kind='within', scale=[1024, 700])
        expected = mmcv.rescale_size((width, height), (1024, 700))[::-1]
        assert merging.resized_size((height, width), rule) == expected
        rule = dict(kind='shortest', min_size=800, max_size=1333)
        expected = seem_size((height, width), 800, 1333)
        assert merging.resized_size((height, width), rule) == expected
    assert merging.resized_size((5, 7), dict(kind='exact', scale=[20, 30])) == (30, 20)
    assert merging.resized_size((5, 7), dict(kind='none')) == (5, 7)


@pytest.mark.parametrize('size', [(500, 210), (301, 299), (96, 1000)])
def test_tiles_are_those_of_predict(size):
    pixels = np.random.default_rng(0).integers(0, 5, size).astype(np.uint8)
    picture = Image.fromarray(np.repeat(pixels[..., None], 3, 2))
    seen = []

    def look(part):
        seen.append(part.size[::-1])
        return dict(label_map=np.asarray(part)[..., 0])

    rule = dict(size=[96, 96], overlap=[24, 20], large=2, min_pixels=0)
    label_map, segment_map, _ = merging.predict(look, picture, dict(MODEL, tiles=rule))
    tiles = lay_tiles(size, (96, 96), (24, 20))
    assert seen == [(tile.seen.height, tile.seen.width) for tile in tiles]
    assert np.array_equal(label_map, pixels)
    assert segment_map is None
    seen.clear()
    merging.predict(look, picture, dict(MODEL, tiles=dict(rule, min_pixels=10**6)))
    assert seen == [size]


def test_pictures_are_read_as_by_predict(runner, tmp_path):
    image, _ = draw_photograph(0, (40, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / 'turned.png', exif=exif)
    Image.fromarray(image[..., 0]).save(tmp_path / 'grey.png')
    Image.fromarray(np.dstack([image, image[..., :1]])).save(tmp_path / 'alpha.png')
    Image.fromarray(image[..., 0].astype(np.uint16) * 255).save(tmp_path / '16 bits.png')
    Image.fromarray(image).quantize(30).save(tmp_path / 'palette.png')
    for file in tmp_path.glob('*.png'):
        expected = mmcv.imread(str(file))[..., ::-1]
        assert np.array_equal(np.asarray(runner.read(file)), expected), file.name


@pytest.fixture
def main(runner, monkeypatch, tmp_path):
    """Run the command with a model that gives a picture's red for its label map."""

    class Session:
        def __init__(self, file: str, providers: list) -> None:
            self.names = ['pixels', 'size'] if 'encoder' in file else ['e', 'size', 'output_size']

        def get_inputs(self):
            return [SimpleNamespace(name=name) for name in self.names]

        def get_outputs(self):
            return [SimpleNamespace(name=name) for name in ('label_map', 'score')]

        def run(self, names, feeds):
            if names is None:
                return [feeds['pixels'][..., 0]]
            assert names == ['label_map']
            height, width = feeds['output_size']
            return [feeds['e'][:, :height, :width]]

    monkeypatch.setattr(runner, 'InferenceSession', Session)

    def main(*arguments):
        monkeypatch.setattr(sys, 'argv', ['run.py', *map(str, arguments)])
        return runner.main()

    return main


def test_broken_pictures_are_named_and_the_others_go_on(main, tmp_path, capsys):
    image, _ = draw_photograph(0, (96, 96))
    for name in ('a.png', 'c.jpg'):
        Image.fromarray(image).save(tmp_path / name)
    (tmp_path / 'b.jpg').write_text('no picture')
    (tmp_path / 'd.jpg').write_bytes((tmp_path / 'c.jpg').read_bytes()[:700])
    files = [tmp_path / name for name in ('a.png', 'b.jpg', 'missing.jpg', 'd.jpg', 'c.jpg')]
    assert main(*files, '--out', tmp_path / 'out') == 1
    errors = capsys.readouterr().err
    for name in ('b.jpg', 'missing.jpg', 'd.jpg'):
        assert f'{tmp_path / name}: ' in errors
    assert sorted(each.name for each in (tmp_path / 'out').iterdir()) == ['a.png', 'c.png']
    assert np.array_equal(Image.open(tmp_path / 'out' / 'a.png'), image[..., 0])
    assert main(files[0], '--out', tmp_path / 'out') == 0


@pytest.mark.parametrize(
    ('names', 'out', 'expected'),
    [
        (['a.png'], '.', 'a.png would lie over'),
        (['a.png', 'x/a.jpg'], 'out', 'would share'),
        (['a.png'], 'a.png', 'expected a folder, or a new one'),
    ],
)
def test_results_meet_neither_pictures_nor_each_other(main, tmp_path, names, out, expected):
    Image.new('RGB', (96, 96)).save(tmp_path / 'a.png')
    before = (tmp_path / 'a.png').read_bytes()
    with pytest.raises(SystemExit, match=expected):
        main(*(tmp_path / name for name in names), '--out', tmp_path / out)
    assert (tmp_path / 'a.png').read_bytes() == before


def test_a_picture_that_does_not_fit_is_said(main, runner, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(runner.MODEL, 'resize', dict(kind='none'))
    Image.new('RGB', (97, 50)).save(tmp_path / 'a.png')
    assert main(tmp_path / 'a.png', '--out', tmp_path / 'out') == 1
    assert '(50, 97) pixels (height, width) do not fit into the frame, [96, 96]' in (
        capsys.readouterr().err
    )
