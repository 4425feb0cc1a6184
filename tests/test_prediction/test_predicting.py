"""Pictures of one's own are predicted as in tests, whatever they are called and however large."""

import io
import json
import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS
from PIL import Image
from pycocotools import mask as coco_masks

import mmseg_ssprompt
from mmseg_ssprompt.fitting.fit import FitResult
from mmseg_ssprompt.outputs import OutputError
from mmseg_ssprompt.prediction import predict, predicting
from mmseg_ssprompt.prediction.predictor import Predictor, read_model
from own_photographs import draw_photograph, make_photographs, save
from predicted_pictures import NAMES, write_model


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> Path:
    """The config of a model, which has prompts.safetensors beside it."""
    return write_model(tmp_path_factory.mktemp('model'))


@pytest.fixture(autouse=True)
def models_are_loaded_once(monkeypatch):
    monkeypatch.setattr(predicting, 'Predictor', load_once)


def load_once(trained, device=None):
    return load_files(trained.config, trained.prompts, trained.folder, device)


@lru_cache(maxsize=8)
def load_files(config, prompts, folder, device):
    return Predictor(read_model(folder or config, None if folder else prompts), device)


@pytest.fixture
def run(model, tmp_path):
    """Predict into ``out``, as the command does."""

    def run(*inputs, out='out', prompts=model.parent / 'prompts.safetensors', **options):
        names = [str(each if Path(each).is_absolute() else tmp_path / each) for each in inputs]
        return predict(str(model), names, tmp_path / out, prompts=str(prompts), **options)

    return run


def read(file: Path) -> np.ndarray:
    return np.array(Image.open(file))


def labels_of(model: Path, file: Path) -> np.ndarray:
    """What the model predicts of a picture by mmseg's own ways."""
    predictor = load_once(read_model(model, model.parent / 'prompts.safetensors'))
    cfg = Config.fromfile(model).test_dataloader.dataset
    cfg.update(data_root=str(file.parent), data_prefix=dict(img_path=''), img_suffix=file.suffix)
    cfg.pipeline = [step for step in cfg.pipeline if step.type != 'LoadAnnotations']
    dataset = DATASETS.build(dict(cfg, test_mode=True))
    sample = next(s for s in dataset if s['data_samples'].img_path == str(file))
    (found,) = predictor.model.test_step(pseudo_collate([sample]))
    return found.pred_sem_seg.data[0].numpy()


def test_label_maps_are_those_of_tests(run, model, tmp_path):
    make_photographs(tmp_path, 3, labels=None)
    found = run('img')
    assert (found.written, found.skipped, found.errors) == (3, 0, {})
    for number, prediction in enumerate(found):
        file = tmp_path / 'img' / f'{number}.png'
        expected = labels_of(model, file)
        assert len(np.unique(expected)) > 1
        assert np.array_equal(read(tmp_path / 'out' / 'labels' / f'{number}.png'), expected)
        assert np.array_equal(prediction.label_map, expected)
        assert prediction.name == str(file)
        assert prediction.classes == NAMES
    assert not (tmp_path / 'out' / 'overlays').exists()


def test_files_of_every_kind_and_name(run, tmp_path):
    image, _ = draw_photograph(0, (40, 60))
    folder = tmp_path / 'in put'
    wide = folder / 'sub, folder' / 'ä b.JPG'
    save(image, wide)
    save(image[..., 0], folder / 'grey.png')
    save(np.dstack([image, image[..., :1]]), folder / 'alpha.PNG')
    save(image[..., 0].astype(np.uint16) * 256, folder / '16 bits.png')
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(folder / 'turned.jpg', exif=exif)
    (folder / 'link.jpg').symlink_to(wide)
    (folder / '.hidden.jpg').write_bytes(wide.read_bytes())
    (folder / 'notes.txt').write_text('none')
    (folder / 'loop').symlink_to(folder)
    found = run('in put', overlay=True, coco=True)
    assert found.errors == {}
    assert found.notes == ['files that are neither pictures nor videos, and were left out: 1 .txt']
    labels = tmp_path / 'out' / 'labels'
    written = {str(file.relative_to(labels)): read(file) for file in labels.rglob('*.png')}
    names = ('16 bits', 'alpha', 'grey', 'link', 'sub, folder/ä b', 'turned')
    assert sorted(written) == [f'{name}.png' for name in names]
    sizes = {name: found.shape for name, found in written.items()}
    assert sizes.pop('turned.png') == (60, 40)
    assert set(sizes.values()) == {(40, 60)}
    assert np.array_equal(written['link.png'], written['sub, folder/ä b.png'])
    overlays = tmp_path / 'out' / 'overlays'
    assert len(list(overlays.rglob('*.jpg'))) == 6
    images = json.loads((tmp_path / 'out' / 'coco.json').read_text())['images']
    assert 'sub, folder/ä b.JPG' in [image['file_name'] for image in images]


def test_damaged_pictures_are_named_and_the_others_go_on(run, tmp_path):
    make_photographs(tmp_path, 2, labels=None, suffix='.jpg')
    whole = (tmp_path / 'img' / '0.jpg').read_bytes()
    (tmp_path / 'img' / '00.jpg').write_bytes(whole[:-40])
    (tmp_path / 'img' / '01.jpg').write_text('no picture')
    (tmp_path / 'img' / '02.png').touch()
    save(np.zeros((1, 3000, 3), np.uint8), tmp_path / 'img' / '03.png')
    (tmp_path / 'img' / '04.mp4').write_text('no video')
    found = run('img')
    assert found.written == 2
    wrong = {Path(file).name: text for file, text in found.errors.items()}
    assert sorted(wrong) == ['00.jpg', '01.jpg', '02.png', '03.png', '04.mp4']
    assert 'cut off or damaged (the end marker is missing)' in wrong['00.jpg']
    assert '1 x 3000 pixels (height x width) do not pass the pipeline' in wrong['03.png']
    assert 'expected a video that OpenCV reads, found 0' in wrong['04.mp4']
    for name, text in wrong.items():
        assert str(tmp_path / 'img' / name) in text
    assert sorted(os.listdir(tmp_path / 'out' / 'labels')) == ['0.png', '1.png']


def test_a_command_goes_on_where_it_was(run, tmp_path):
    make_photographs(tmp_path, 4, labels=None)
    labels = tmp_path / 'out' / 'labels'
    run('img')
    first = {file.name: file.stat().st_mtime_ns for file in labels.iterdir()}
    (labels / '1.png').unlink()
    save(draw_photograph(9)[0], tmp_path / 'img' / '2.png')  # another picture of the same name
    record = tmp_path / 'out' / 'predictions.jsonl'
    record.write_bytes(record.read_bytes()[:-20])  # the last line was not written to its end
    found = run('img')
    assert (found.written, found.skipped) == (3, 1)
    second = {file.name: file.stat().st_mtime_ns for file in labels.iterdir()}
    assert [name for name in sorted(second) if second[name] == first[name]] == ['0.png']
    found = run('img', coco=True)  # nothing is known of regions yet
    assert (found.written, found.skipped) == (4, 0)
    found = run('img', coco=True, overlay=True)
    assert (found.written, found.skipped) == (4, 0)
    found = run('img', coco=True, overlay=True)
    assert (found.written, found.skipped) == (0, 4)
    assert [Path(each.name).name for each in found] == ['0.png', '1.png', '2.png', '3.png']
    assert len(record.read_text().splitlines()) == 1 + 4 + 3 + 4 + 4 - 1


def test_predictions_of_several_models_are_not_mixed(run, model, tmp_path):
    make_photographs(tmp_path, 1, labels=None)
    run('img')
    other = write_model(tmp_path / 'other', seed=3).parent / 'prompts.safetensors'
    before = (tmp_path / 'out' / 'labels' / '0.png').read_bytes()
    with pytest.raises(OutputError, match='found predictions of another model'):
        run('img', prompts=other)
    with pytest.raises(OutputError, match=r'by tiles of .*2048.* and not of 32 x 32'):
        run('img', tile=32)
    assert (tmp_path / 'out' / 'labels' / '0.png').read_bytes() == before
    assert run('img', prompts=other, overwrite=True).written == 1
    assert (tmp_path / 'out' / 'labels' / '0.png').read_bytes() != before


@pytest.mark.parametrize('out', ['img/out', 'img', '.', 'model', 'img/sub/../out'])
def test_nothing_is_written_where_it_reads(run, model, tmp_path, out):
    make_photographs(tmp_path, 2, labels=None)
    before = sorted(tmp_path.rglob('*'))
    place = model.parent if out == 'model' else tmp_path / out
    with pytest.raises(OutputError, match=r'^--out=.*'):
        run('img', out=place)
    assert sorted(tmp_path.rglob('*')) == before


def test_results_may_lie_beside_pictures_that_are_named(run, tmp_path):
    make_photographs(tmp_path, 2, labels=None)
    assert run('img/0.png', 'img/1*.png', out='img/out').written == 2
    assert run('img/*.png', out='img/out').skipped == 2
    for inputs in (['img'], ['**/*.png']):
        with pytest.raises(OutputError, match='lies in a folder of data'):
            run(*inputs, out='img/out')
    with pytest.raises(OutputError, match=r'it contains a picture, .*0\.png'):
        run('img/0.png', out='img')


def test_a_folder_of_others_is_left_alone(run, tmp_path):
    make_photographs(tmp_path, 1, labels=None)
    save(np.zeros((3, 3), np.uint8), tmp_path / 'out' / 'labels' / '0.png')
    with pytest.raises(OutputError, match=r'found files of another run, such as .*0\.png'):
        run('img')
    assert read(tmp_path / 'out' / 'labels' / '0.png').shape == (3, 3)


def test_names_are_relative_to_what_inputs_have_in_common(run, tmp_path):
    for place in ('a/x', 'b/x', 'c'):
        make_photographs(tmp_path / place, 1, labels=None)
    labels = tmp_path / 'out' / 'labels'
    run('a', 'b/x/*/*.png', 'c/img/0.png', 'a/x')
    written = sorted(str(file.relative_to(labels)) for file in labels.rglob('*.png'))
    assert written == ['a/x/img/0.png', 'b/x/img/0.png', 'c/img/0.png']


def test_two_pictures_of_one_name_are_refused(run, tmp_path):
    image, _ = draw_photograph()
    for name in ('a.jpg', 'a.png'):
        save(image, tmp_path / 'in' / name)
    with pytest.raises(ValueError, match=r"a\.jpg' and .*a\.png' would share a file of results"):
        run('in')


@pytest.mark.parametrize(
    ('inputs', 'error', 'text'),
    [
        (['none'], FileNotFoundError, r"input '.*none' does not exist"),
        (['*.jpg'], FileNotFoundError, r"input '.*\*\.jpg' matches nothing"),
        (['empty'], ValueError, r'no pictures to predict: expected files that .*found no file'),
        (['texts'], ValueError, r'no pictures to predict: .*found 1 \.txt, 1 without suffix'),
    ],
)
def test_inputs_without_pictures(run, tmp_path, inputs, error, text):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'texts').mkdir()
    for name in ('a.txt', 'b'):
        (tmp_path / 'texts' / name).touch()
    with pytest.raises(error, match=text):
        run(*inputs)
    assert not (tmp_path / 'out').exists()


def test_large_pictures_are_cut_into_tiles(run, model, tmp_path):
    image = draw_photograph()[0]
    save(np.tile(image, (2, 2, 1)), tmp_path / 'large' / 'a.png')
    run('large', tile=(48, 64), overlap=16)
    found = read(tmp_path / 'out' / 'labels' / 'a.png')
    assert found.shape == (96, 128)
    # Tiles begin at 0, 32 and 48 downwards, and at 0, 48 and 64 to the right.
    expected = labels_of(model, save(image, tmp_path / 'tile' / 'a.png'))
    assert len(np.unique(expected[16:, 24:])) > 1
    assert np.array_equal(found[64:, 88:], expected[16:, 24:])
    assert np.array_equal(found[:40, :56], expected[:40, :56])


def test_a_batch_changes_nothing(run, tmp_path):
    """Of pictures of several sizes, too, which are in several batches."""
    for number, height in enumerate((48, 48, 40, 40, 48)):
        save(draw_photograph(number, (height, 60))[0], tmp_path / 'img' / f'{number}.png')
    run('img')
    run('img', out='batches', batch_size=3)
    for number in range(5):
        one, many = (read(tmp_path / o / 'labels' / f'{number}.png') for o in ('out', 'batches'))
        assert one.shape == many.shape
        assert np.mean(one != many) < 0.002  # sums are in another order


def write_video(file: Path, count: int = 6) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 48))
    for number in range(count):
        video.write(draw_photograph(number)[0][..., ::-1])
    video.release()


def test_frames_of_videos(run, tmp_path):
    write_video(tmp_path / 'in' / 'clip.avi')
    found = run('in', every=2, coco=True)
    labels = tmp_path / 'out' / 'labels' / 'clip.avi'
    assert sorted(os.listdir(labels)) == ['000000.png', '000002.png', '000004.png']
    assert found.written == 3
    assert [each.name.rpartition(', ')[2] for each in found] == ['frame 0', 'frame 2', 'frame 4']
    (labels / '000002.png').unlink()
    found = run('in', every=2, coco=True)
    assert (found.written, found.skipped) == (1, 2)
    images = json.loads((tmp_path / 'out' / 'coco.json').read_text())['images']
    assert [image['file_name'] for image in images] == [
        f'clip.avi/{number:06}.png' for number in (0, 2, 4)
    ]
    last = list(found)[-1]
    assert np.abs(last._reduce((48, 64)).astype(int) - draw_photograph(4)[0]).mean() < 6


def test_a_video_that_is_cut_off_is_named(run, tmp_path):
    write_video(tmp_path / 'in' / 'clip.avi', 40)
    whole = (tmp_path / 'in' / 'clip.avi').read_bytes()
    (tmp_path / 'in' / 'clip.avi').write_bytes(whole[: len(whole) // 2])
    found = run('in', every=7)
    assert found.written > 0
    (text,) = found.errors.values()
    assert 'found' in text and 'that can be read. Is it cut off' in text


def test_regions_in_the_format_of_coco(run, tmp_path):
    make_photographs(tmp_path, 2, labels=None)
    found = run('img', coco=True)
    coco = json.loads((tmp_path / 'out' / 'coco.json').read_text())
    assert coco['categories'] == [dict(id=n + 1, name=name) for n, name in enumerate(NAMES)]
    assert found.annotations == len(coco['annotations']) >= 4
    assert [each['id'] for each in coco['annotations']] == list(range(1, found.annotations + 1))
    for image in coco['images']:
        label_map = np.full((image['height'], image['width']), 255)
        for each in coco['annotations']:
            if each['image_id'] != image['id']:
                continue
            mask = coco_masks.decode(each['segmentation']).astype(bool)
            assert each['area'] == mask.sum()
            assert each['bbox'] == coco_masks.toBbox(each['segmentation']).tolist()
            assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 2
            assert (label_map[mask] == 255).all()
            label_map[mask] = each['category_id'] - 1
        name = image['file_name']
        assert np.array_equal(label_map, read(tmp_path / 'out' / 'labels' / name))


def test_pictures_in_memory(model):
    image, _ = draw_photograph()
    prompts = str(model.parent / 'prompts.safetensors')
    pictures = [image, Image.fromarray(image), np.dstack([image, image[..., 0]])]
    found = list(predict(str(model), pictures, prompts=prompts))
    assert [each.name for each in found] == ['picture 0', 'picture 1', 'picture 2']
    for each in found[1:]:
        assert np.array_equal(each.label_map, found[0].label_map)
    assert sum(found[0].shares().values()) == pytest.approx(1)
    assert list(found[0].shares()) == sorted(found[0].shares(), key=found[0].shares().get)[::-1]
    shown = np.array(Image.open(io.BytesIO(found[0]._repr_png_())))
    assert np.array_equal(shown, found[0].overlay())
    assert shown.shape == (288, 384, 3)  # enlarged, for the names
    assert found[0].overlay(longest=32).shape[0] % 24 == 0
    (single,) = predict(str(model), image, prompts=prompts)
    assert np.array_equal(single.label_map, found[0].label_map)
    assert mmseg_ssprompt.predict is predict


@pytest.mark.parametrize(
    ('picture', 'text'),
    [
        (np.zeros((4, 4)), r'found \(4, 4\) of float64'),
        (np.zeros((4, 4, 2), np.uint8), r'found \(4, 4, 2\) of uint8'),
        (np.zeros((0, 4, 3), np.uint8), r'expected pixels, found an array \(0, 4, 3\)'),
    ],
)
def test_arrays_that_are_no_pictures(model, picture, text):
    with pytest.raises(ValueError, match=text):
        predict(str(model), [picture])
    with pytest.raises(ValueError, match='expected paths, or pictures in memory'):
        predict(str(model), [picture, 'a.png'])


def test_pictures_are_predicted_while_one_iterates(model, tmp_path):
    make_photographs(tmp_path, 3, labels=None)
    (tmp_path / 'img' / '1.png').write_text('no picture')
    prompts = str(model.parent / 'prompts.safetensors')
    said = []
    found = predict(
        str(model), str(tmp_path / 'img'), prompts=prompts,
        on_progress=lambda *each: said.append(each),
    )  # fmt: skip
    assert not said
    assert [Path(each.name).name for each in found] == ['0.png', '2.png']
    assert list(found.errors) == [str(tmp_path / 'img' / '1.png')]
    assert said[0] == (0, 3, '0.png')
    assert said[-1] == (3, 3, '2.png')
    assert sorted(os.listdir(tmp_path)) == ['img']


def test_a_folder_of_fit(model, tmp_path):
    """Its photographs say from which size on pictures are cut."""
    folder = tmp_path / 'run'
    shutil.copytree(model.parent, folder)
    with pytest.raises(FileNotFoundError, match=r"none' does not exist: give a folder that"):
        predict(tmp_path / 'none', [draw_photograph()[0]])
    sizes = [(20, 30, 'train'), (24, 30, 'train'), (22, 34, 'train'), (900, 900, 'test')]
    pictures = [dict(height=h, width=w, split=split) for h, w, split in sizes]
    (folder / 'data.json').write_text(json.dumps(dict(pictures=pictures)))
    trained = read_model(folder)
    predictor = load_once(trained)
    assert predictor.training_size == (22, 30)
    assert not predictor.is_zero_shot
    assert trained.find_inputs().folders[folder] == 'the model'
    save(draw_photograph(0, (50, 40))[0], tmp_path / 'img' / 'a.png')
    shown = []
    result = FitResult(folder, *[None] * 7)  # which stands for its folder
    options = dict(on_progress=lambda *each: shown.append(each[2]))
    found = predict(result, [str(tmp_path / 'img')], tmp_path / 'out', **options)
    assert found.written == 1
    assert 'a.png: tile 6 of 6' in shown
    (folder / 'prompts.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match=r'found no prompts\.safetensors\. If `fit` has'):
        predict(folder, [draw_photograph()[0]])


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(device='cuda:7'), r"device 'cuda:7': expected one of this machine"),
        (dict(device='abacus'), r"device 'abacus': expected one of this machine"),
        (dict(every=0), r'every: expected a number of frames from 1 on, found 0'),
        (dict(tile=0), r'tile: expected sides of at least 1 pixel, found 0'),
        (dict(tile=32, overlap=32), r'below the sides of a tile, 32 x 32'),
    ],
)
def test_arguments_that_cannot_be(model, options, text):
    prompts = model.parent / 'prompts.safetensors'
    with pytest.raises(ValueError, match=text):
        predict(model, [draw_photograph()[0]], prompts=prompts, **options)


@pytest.mark.slow
@pytest.mark.process
def test_a_picture_of_200_megapixels_needs_less_than_4_gigabytes(model, tmp_path):
    large = cv2.resize(draw_photograph()[0], (16400, 12300))
    cv2.imwrite(str(tmp_path / 'a.jpg'), large)
    arguments = [str(model), str(tmp_path / 'a.jpg'), str(tmp_path / 'out')]
    prompts = str(model.parent / 'prompts.safetensors')
    code = f"""
import resource
from mmseg_ssprompt import predict
found = predict(*{arguments!r}, prompts={prompts!r}, overlay=True, coco=True, tile=4096)
print(found.written, found.errors, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written, errors, kilobytes = done.stdout.split()
    assert (written, errors) == ('1', '{}')
    assert int(kilobytes) < 4_000_000, kilobytes
    labels = cv2.imread(str(tmp_path / 'out' / 'labels' / 'a.png'), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (12300, 16400)
    assert max(cv2.imread(str(tmp_path / 'out' / 'overlays' / 'a.jpg')).shape) == 2048
