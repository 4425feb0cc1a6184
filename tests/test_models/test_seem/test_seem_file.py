"""Loading SEEM's parts from official files, and every way in which a file can be the wrong one."""

import pytest
import torch
from safetensors.torch import save_file

from mmseg_ssprompt.models.clip.text_encoder import CLIPClassNameEncoder
from mmseg_ssprompt.models.sam.sam_file import load_part
from mmseg_ssprompt.models.sam.sam_variants import build_mask_decoder, build_sam
from mmseg_ssprompt.models.seem.backbones import build_backbone
from mmseg_ssprompt.models.seem.pixel_decoders import build_pixel_decoder
from mmseg_ssprompt.models.seem.seem_file import (
    fingerprint_parts_of_file,
    guess_variant,
    load_parts,
    read_seem,
)
from mmseg_ssprompt.models.seem.seem_image_encoder import SEEMImageEncoder
from mmseg_ssprompt.models.seem.seem_variants import get_variant
from mmseg_ssprompt.weights.model_weights import check_weights_are_there
from mmseg_ssprompt.weights.state_dicts import CheckpointError
from seem_files import make_weights, read_keys

#: The ten official configurations, and the variant that each is.
CONFIGURATIONS = dict(
    focalt_unicl_lang_v0='focal_t',
    focalt_unicl_lang_v1='focal_t',
    focalt_unicl_lang_demo='focal_t',
    focall_unicl_lang_v0='focal_l',
    focall_unicl_lang_v1='focal_l',
    focall_unicl_lang_demo='focal_l',
    davitd3_unicl_lang_v1='davit_d3',
    davitd5_unicl_lang_v1='davit_d5',
    samvitb_unicl_lang_v1='sam_vit_b',
    samvitl_unicl_lang_v1='sam_vit_l',
)
NAMES = [*CONFIGURATIONS.items(), ('tiny', 'focal_tiny'), ('tiny_deform', 'focal_tiny_deform')]
FIRST = 'sem_seg_head.predictor.query_feat.weight'


def save(state_dict, folder, name='seem.pt'):
    torch.save(state_dict, folder / name)
    return folder / name


def sparse(name, with_buffers=True):
    """All shapes of a configuration, in tensors that share one stored number."""
    parameters, buffers = read_keys(name)
    zero = torch.zeros(())
    shapes = {**parameters, **(buffers if with_buffers else {})}
    return {key: zero.expand(tuple(shape)) for key, shape in shapes.items()}


@pytest.fixture(scope='module')
def tiny():
    return make_weights(read_keys('tiny')[0])


@pytest.mark.parametrize(('name', 'variant'), NAMES)
def test_all_keys_of_an_official_file_are_expected(name, variant, tmp_path):
    """In every shape, and nothing else; buffers may be there or not."""
    expected = read_keys(name)[0]
    path = save(sparse(name), tmp_path)
    found = read_seem(path, variant)
    assert {key: list(value.shape) for key, value in found.items()} == expected
    save(sparse(name, with_buffers=False), tmp_path)
    assert read_seem(path, variant).keys() == expected.keys()


@pytest.mark.parametrize(('name', 'variant'), NAMES)
def test_variants_are_recognised(name, variant):
    assert guess_variant(sparse(name)) == variant


@pytest.mark.parametrize('name', ['focalt_unicl_lang_v1', 'samvitb_unicl_lang_v1'])
def test_any_other_key_or_shape_is_refused(name, tmp_path):
    """Whichever part it is of, and whichever is asked for."""
    whole = sparse(name)
    variant = CONFIGURATIONS[name]
    last = {}  # one key of each part, and of each kind of module
    for key in read_keys(name)[0]:
        last['.'.join(part for part in key.split('.') if not part.isdigit())] = key
    assert len(last) > 50
    for key in list(last.values())[::12]:
        path = save({k: v for k, v in whole.items() if k != key}, tmp_path)
        with pytest.raises(CheckpointError, match=f'1 missing: {key}'):
            read_seem(path, variant)
        path = save({**whole, key: torch.zeros(7, 7)}, tmp_path)
        with pytest.raises(CheckpointError, match=rf'{key}: expected shape .* found \(7, 7\)'):
            read_seem(path, variant)
    for key in ('foo.weight', 'backbone.foo', 'sem_seg_head.predictor.lang_encoder.foo'):
        path = save({**whole, key: torch.zeros(2)}, tmp_path)
        with pytest.raises(CheckpointError, match=f'1 unexpected: {key}') as error:
            read_seem(path, variant)
        assert f'an altered or damaged {variant!r}. Variant' in str(error.value)
        assert str(path) in str(error.value)


def test_parts_load_exactly(tiny, tiny_file):
    variant = get_variant('focal_tiny')
    modules = dict(backbone=build_backbone(variant), pixel_decoder=build_pixel_decoder(variant))
    load_parts(modules, tiny_file, 'focal_tiny')
    prefixes = dict(backbone='backbone.', pixel_decoder='sem_seg_head.pixel_decoder.')
    for part, module in modules.items():
        prefix = prefixes[part]
        expected = {k[len(prefix) :]: v for k, v in tiny.items() if k.startswith(prefix)}
        found = module.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_half_precision_files_become_float32(tiny, tmp_path):
    path = save({key: value.half() for key, value in tiny.items()}, tmp_path)
    encoder = SEEMImageEncoder('focal_tiny', path)
    assert all(value.dtype == torch.float32 for value in encoder.state_dict().values())
    expected = tiny['backbone.norm0.weight'].half().float()
    assert torch.equal(encoder.backbone.norm0.weight, expected)


@pytest.mark.parametrize('wrap', ['module.{}', 'model.{}', '{}'])
def test_what_is_wrapped_around_is_taken_off(tiny, tmp_path, wrap):
    content = {'model': {wrap.format(key): value for key, value in tiny.items()}, 'epoch': 3}
    found = read_seem(save(content, tmp_path), 'focal_tiny')
    assert found.keys() == tiny.keys()


def test_safetensors(tiny, tmp_path):
    save_file(tiny, tmp_path / 'seem.safetensors')
    assert read_seem(tmp_path / 'seem.safetensors', 'focal_tiny').keys() == tiny.keys()


def test_two_models_in_a_file_are_refused(tiny, tmp_path):
    content = {
        f'{name}.{key}': value for name in ('student', 'teacher') for key, value in tiny.items()
    }
    with pytest.raises(CheckpointError, match="several prefixes: 'student.', 'teacher.'"):
        read_seem(save(content, tmp_path), 'focal_tiny')


@pytest.mark.parametrize(
    ('name', 'variant'),
    [
        ('focalt_unicl_lang_v1', 'focal_l'),
        ('focall_unicl_lang_v0', 'focal_t'),
        ('davitd3_unicl_lang_v1', 'davit_d5'),
        ('samvitb_unicl_lang_v1', 'sam_vit_l'),
        ('tiny', 'focal_tiny_deform'),
        ('tiny_deform', 'focal_tiny'),
    ],
)
def test_file_of_another_variant_is_named(name, variant, tmp_path):
    path = save(sparse(name), tmp_path)
    right = dict(NAMES)[name]
    with pytest.raises(CheckpointError) as error:
        SEEMImageEncoder(variant, path)
    text = str(error.value)
    assert f'checkpoint {str(path)!r} does not fit SEEM variant {variant!r}' in text
    assert f'The file is of variant {right!r}: set variant={right!r}' in text
    assert 'expected shape' in text or 'missing' in text


def test_file_of_no_known_variant_says_so(tiny, tmp_path):
    path = save({**tiny, FIRST: torch.zeros(12, 32)}, tmp_path)
    with pytest.raises(CheckpointError, match=r'fits none of \[.*focal_tiny') as error:
        read_seem(path, 'focal_tiny')
    assert f'{FIRST}: expected shape (11, 32), found (12, 32)' in str(error.value)


def test_x_decoder_is_named(tiny, tmp_path):
    spatial = ('mask_sptial_embed', 'pn_indicator', 'spatial_')
    path = save({k: v for k, v in tiny.items() if not any(s in k for s in spatial)}, tmp_path)
    with pytest.raises(CheckpointError, match='perhaps X-Decoder, which has no sp') as error:
        read_seem(path, 'focal_tiny')
    assert '6 missing: sem_seg_head.predictor.mask_sptial_embed.0' in str(error.value)


@pytest.mark.parametrize('keep', [0.0, 0.3, 0.999])
def test_truncated_files_are_refused(tiny_file, tmp_path, keep):
    content = tiny_file.read_bytes()
    path = tmp_path / 'seem.pt'
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(CheckpointError, match='again') as error:
        SEEMImageEncoder('focal_tiny', path)
    assert str(path) in str(error.value)


def test_numbers_that_are_not_finite_are_refused(tiny, tmp_path):
    key = 'backbone.norm0.weight'
    path = save({**tiny, key: torch.full_like(tiny[key], torch.nan)}, tmp_path)
    with pytest.raises(
        CheckpointError, match='NaN or infinite; download or convert the file again'
    ):
        SEEMImageEncoder('focal_tiny', path)


def test_a_file_of_sam_is_refused_by_name(tmp_path):
    path = save(build_sam('tiny').state_dict(), tmp_path, 'sam.pth')
    with pytest.raises(CheckpointError) as error:
        SEEMImageEncoder('focal_t', path)
    text = str(error.value)
    assert 'expected SEEM, but by its keys this is SAM: give it as' in text
    assert "model.weights=dict(sam='FILE') to a config of SAM" in text
    assert 'needs seem_focalt_v1.pt' in text and 'huggingface.co' in text


@pytest.mark.parametrize('name', ['focalt_unicl_lang_v1', 'samvitb_unicl_lang_v1'])
def test_a_file_of_seem_is_refused_by_sam(name, tmp_path):
    path = save(sparse(name), tmp_path)
    with pytest.raises(CheckpointError) as error:
        load_part(build_mask_decoder('tiny'), path, 'vit_b', 'mask_decoder')
    text = str(error.value)
    assert 'expected SAM, but by its keys this is SEEM or X-Decoder: give it' in text
    assert "as model.weights=dict(seem='FILE') to a config of SEEM" in text
    assert 'needs sam_vit_b_01ec64.pth' in text


def test_a_file_of_seem_is_refused_by_clip(tmp_path):
    path = save(sparse('focalt_unicl_lang_v1'), tmp_path)
    with pytest.raises(CheckpointError, match=r"give it as model.weights=dict\(seem='FILE'"):
        CLIPClassNameEncoder('ViT-B/16', path)


def test_other_content_is_refused(tmp_path):
    path = save({'foo.weight': torch.zeros(2)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"expected SEEM, found \['foo.weight'\]"):
        read_seem(path, 'focal_t')


def test_absent_file_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match='does not exist. Variant .sam_vit_b. needs seem_'):
        SEEMImageEncoder('sam_vit_b', tmp_path / 'seem.pt')
    with pytest.raises(FileNotFoundError, match='No file of variant .davit_d3. is published'):
        SEEMImageEncoder('davit_d3', tmp_path / 'seem.pt')


def test_unknown_variants_are_refused(tiny_file):
    with pytest.raises(ValueError, match=r"unknown SEEM variant 'vit_b': expected one of \['davit"):
        SEEMImageEncoder('vit_b', tiny_file)


def test_fingerprints_of_parts(tiny_file, tiny_deform_file, tmp_path):
    encoder = fingerprint_parts_of_file(tiny_file, ('backbone', 'pixel_decoder'))
    assert encoder == SEEMImageEncoder('focal_tiny', tiny_file).fingerprints()['image_encoder']
    assert encoder != fingerprint_parts_of_file(tiny_file, ('backbone',))
    assert encoder != fingerprint_parts_of_file(tiny_deform_file, ('backbone', 'pixel_decoder'))
    assert fingerprint_parts_of_file(None, ('backbone',)) is None
    assert fingerprint_parts_of_file(tmp_path / 'seem.pt', ('backbone',)) is None


def test_a_model_without_its_file_says_which_entry_to_set(tmp_path):
    model = dict(
        backbone=dict(type='SEEMImageEncoder', variant='focal_t'),
        decode_head=dict(segmenter=dict(type='SEEMSegmenter', variant='focal_t')),
        weights=dict(seem=str(tmp_path / 'seem_focalt_v1.pt')),
    )
    with pytest.raises(FileNotFoundError, match=r'set model.weights=dict\(seem=\.\.\.\)') as error:
        check_weights_are_there(model)
    text = str(error.value)
    assert 'seem_focalt_v1.pt' in text and 'huggingface.co/xdecoder/SEEM' in text
    assert '(for model.backbone, model.decode_head.segmenter)' in text
