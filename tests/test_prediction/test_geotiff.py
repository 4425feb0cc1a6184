"""GeoTIFFs are read by windows, and their label maps lie where they do."""

import json
import os
import warnings

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from mmseg_ssprompt.datasets.checks import DatasetError, UnreadableFileError
from mmseg_ssprompt.extras import MissingExtraError
from mmseg_ssprompt.prediction import input_files, pictures, predict
from mmseg_ssprompt.prediction.geotiff import RasterPicture, read_tiff_facts
from mmseg_ssprompt.prediction.input_files import InputFile
from mmseg_ssprompt.prediction.pictures import open_windows
from mmseg_ssprompt.prediction.predictor import Predictor, read_model
from mmseg_ssprompt.prediction.tiles import Part
from own_photographs import draw_photograph
from predicted_pictures import write_model

SIZE = (48, 64)
WHOLE = Part(0, 0, *SIZE)


@pytest.fixture
def rasterio():
    """Tests that need it are left out without it."""
    return pytest.importorskip('rasterio')


@pytest.fixture
def write(rasterio):
    """Write a GeoTIFF of bands (n, H, W) into a file."""

    def write(file, bands, **options):
        file.parent.mkdir(parents=True, exist_ok=True)
        place = dict(crs='EPSG:25832', transform=rasterio.Affine(0.5, 0, 300000, 0, -0.5, 5e6))
        kind = dict(driver='GTiff', count=len(bands), dtype=bands.dtype.name)
        sides = dict(height=bands.shape[1], width=bands.shape[2])
        with rasterio.open(file, 'w', **{**kind, **sides, **place, **options}) as raster:
            raster.write(bands)
        return file

    return write


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model'))


def bands_of(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def write_geo_tags(file, image) -> None:
    """A TIFF file that says where it lies, without rasterio."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33550] = (0.5, 0.5, 0.0)
    tags.tagtype[33550] = 12
    Image.fromarray(image).save(file, tiffinfo=tags)


def test_headers_say_what_a_tiff_is(tmp_path):
    image, _ = draw_photograph()
    write_geo_tags(tmp_path / 'geo.tif', image)
    Image.fromarray(image).save(tmp_path / 'plain.tif')
    Image.fromarray(image).save(tmp_path / 'picture.tif', 'PNG')
    (tmp_path / 'cut.tif').write_bytes((tmp_path / 'geo.tif').read_bytes()[:20])
    assert read_tiff_facts(tmp_path / 'geo.tif') == (True, SIZE, True)
    assert read_tiff_facts(tmp_path / 'plain.tif') == (False, SIZE, True)
    assert read_tiff_facts(tmp_path / 'picture.tif') is None
    assert read_tiff_facts(tmp_path / 'cut.tif') is None


def test_a_geotiff_needs_rasterio(tmp_path, monkeypatch):
    monkeypatch.setattr(input_files, 'can_read_windows', lambda: False)
    write_geo_tags(tmp_path / 'a.tif', draw_photograph()[0])
    with pytest.raises(
        MissingExtraError, match=r"a\.tif': .* a GeoTIFF: .*pip install \"rasterio>"
    ):
        predict('none', [str(tmp_path)], tmp_path / 'out')


def test_label_maps_keep_their_place(rasterio, write, model, tmp_path):
    image, _ = draw_photograph()
    bands = bands_of(image)
    file = write(tmp_path / 'in' / 'a.tif', bands, nodata=0)
    bands[:, :, 50:] = 0
    write(tmp_path / 'in' / 'void.TIF', bands, nodata=0)
    points = [rasterio.control.GroundControlPoint(0, 0, 9.0, 50.0)] * 4
    write(tmp_path / 'in' / 'points.tif', bands_of(image), gcps=points, transform=None)
    with rasterio.open(tmp_path / 'in' / 'points.tif') as raster:
        assert raster.gcps[0], 'the picture has no points'
    Image.fromarray(image).save(tmp_path / 'in' / 'plain.png')
    options = dict(prompts=model.parent / 'prompts.safetensors', coco=True, overlay=True)
    found = predict(model, tmp_path / 'in', tmp_path / 'out', **options)
    assert found.errors == {}
    labels = tmp_path / 'out' / 'labels'
    assert sorted(os.listdir(labels)) == ['a.tif', 'plain.png', 'points.tif', 'void.tif']
    expected = np.array(Image.open(labels / 'plain.png'))
    with rasterio.open(labels / 'a.tif') as raster, rasterio.open(file) as source:
        assert np.array_equal(raster.read(1), expected)
        assert (raster.crs, raster.transform) == (source.crs, source.transform)
        assert (raster.dtypes, raster.nodata, raster.count) == (('uint8',), 255, 1)
        assert raster.colormap(1)[0][:3] == tuple(next(iter(found)).palette[0])
    with rasterio.open(labels / 'void.tif') as raster:
        void = raster.read(1)
    assert (void[:, 50:] == 255).all()
    assert (void[:, :50] != 255).all()
    with rasterio.open(labels / 'points.tif') as raster:
        assert len(raster.gcps[0]) == 4
    again = {each.name.rpartition('/')[2]: each for each in found}
    assert np.array_equal(again['a.tif'].label_map, expected)
    assert np.array_equal(again['void.TIF'].label_map, void)
    assert again['a.tif'].overlay().shape == (288, 384, 3)
    coco = json.loads((tmp_path / 'out' / 'coco.json').read_text())
    number = next(i['id'] for i in coco['images'] if i['file_name'] == 'void.TIF')
    found_pixels = sum(a['area'] for a in coco['annotations'] if a['image_id'] == number)
    assert found_pixels == 48 * 50
    found = predict(model, tmp_path / 'in', tmp_path / 'out', **options)
    assert (found.written, found.skipped) == (0, 4)


def test_windows_have_the_pixels_that_opencv_reads(write, model, tmp_path):
    """So a picture is predicted alike, whether it has a place or not."""
    image, _ = draw_photograph()
    grey = image[..., :1]
    files = dict(
        rgb=bands_of(image),
        grey=bands_of(grey),
        deep=bands_of(image).astype(np.uint16) * 257,
        deep_grey=bands_of(grey).astype(np.uint16) * 200,
    )
    predictor = Predictor(read_model(model, model.parent / 'prompts.safetensors'))
    for name, bands in files.items():
        file = write(tmp_path / f'{name}.tif', bands, photometric='rgb' if len(bands) > 1 else None)
        raster = RasterPicture(file)
        assert raster.size == SIZE
        expected = predictor.load(file).read(WHOLE)
        assert np.array_equal(raster.read(WHOLE), expected), name
        part = Part(10, 20, 5, 7)
        assert np.array_equal(raster.read(part), expected[10:15, 20:27])
        assert np.array_equal(raster.reduce(SIZE), expected[..., ::-1])
        assert raster.reduce((12, 16)).shape == (12, 16, 3)


def test_bands_of_other_kinds(write, rasterio, tmp_path):
    image, _ = draw_photograph()
    four = np.concatenate([bands_of(image), bands_of(image)[:1]])
    infrared = RasterPicture(write(tmp_path / 'infrared.tif', four))
    assert np.array_equal(infrared.read(WHOLE), image[..., ::-1])
    file = write(tmp_path / 'palette.tif', bands_of(image[..., :1] // 64))
    with rasterio.open(file, 'r+') as raster:
        raster.write_colormap(1, {number: (number, 2 * number, 7) for number in range(4)})
    table = np.array([(7, 2 * number, number) for number in range(4)])
    assert np.array_equal(RasterPicture(file).read(WHOLE), table[image[..., 0] // 64])
    floats = write(tmp_path / 'floats.tif', bands_of(image).astype(np.float32))
    with pytest.raises(DatasetError, match=r"floats\.tif': expected grey .* bands of float32"):
        RasterPicture(floats)


def test_a_damaged_geotiff_is_named(write, model, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (3, 300, 200), np.uint8)
    file = write(tmp_path / 'in' / 'cut.tif', noise)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    write(tmp_path / 'in' / 'whole.tif', noise)
    (tmp_path / 'in' / 'none.tif').write_bytes(b'II*\0')
    with pytest.raises(UnreadableFileError, match=r"cut\.tif': expected a whole TIFF"):
        RasterPicture(file).read(Part(0, 0, 300, 200))
    prompts = model.parent / 'prompts.safetensors'
    found = predict(model, tmp_path / 'in', tmp_path / 'out', prompts=prompts, tile=150)
    assert sorted(file.rpartition('/')[2] for file in found.errors) == ['cut.tif', 'none.tif']
    assert os.listdir(tmp_path / 'out' / 'labels') == ['whole.tif']


def test_large_tiffs_without_a_place_are_read_by_windows(rasterio, tmp_path, monkeypatch):
    image, _ = draw_photograph()
    file = tmp_path / 'plain.tif'
    Image.fromarray(image).save(file)
    assert open_windows(InputFile(file, file.name)) is None
    monkeypatch.setattr(pictures, '_BY_WINDOWS', 1000)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert np.array_equal(open_windows(InputFile(file, file.name)).reduce(SIZE), image)
