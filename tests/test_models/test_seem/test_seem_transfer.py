"""Prompts that were learned on SEEM, with "no object" among them, on other classes."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from commands import run_here
from mmseg_ssprompt.prompt_files.prompt_file import PromptSource
from mmseg_ssprompt.prompt_files.transfer import PromptTransferError, transfer_prompts
from tiny_model import CONFIG, use_tiny_seem

NO_OBJECT = 'decode_head.classifier.no_object_prompt.'
SEMANTIC = 'decode_head.semantic_prompts.fusion.'
SEEM = """
_base_ = [
    '{configs}/_base_/models/ssprompt_seem.py',
    '{configs}/_base_/datasets/shapes_96x96.py',
    '{configs}/_base_/schedules/schedule_300.py',
    '{configs}/_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(num_classes=10, semantic_prompts=dict(dataset='ShapesWorldDataset'))
)
"""
LEARNED = dict(mode='learned_weight')


@pytest.fixture
def read(tiny_file, tmp_path):
    """Configs of the tiny SEEM on ShapesWorld, for some of its classes."""

    def config_of(fusion=LEARNED, classes=None):
        file = tmp_path / 'seem.py'
        file.write_text(SEEM.format(configs=CONFIG.parent))
        config = Config.fromfile(file)
        use_tiny_seem(config, str(tiny_file))
        head = config.model.decode_head
        head.classifier.fusion = fusion
        if classes:
            head.num_classes = len(classes)
            head.semantic_prompts.update(dataset=None, class_names=list(classes))
        return config

    return config_of


def build(config, seed=0):
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(config.model).eval()


def train_a_little(model) -> PromptSource:
    """Prompts away from their start, as a source."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    state_dict = model.without_frozen(model.state_dict())
    return PromptSource(state_dict, state_dict._metadata['']['prompts'], "checkpoint 'a.pth'")


CLASSES = ('volcano', 'sky', 'ball')  # rows none, 6 and 0 of the source


@pytest.mark.parametrize('mode', ['learned_weight', 'fixed_weight', 'learned_only'])
def test_no_object_comes_along(read, mode):
    model = build(read(dict(mode=mode)))
    source = train_a_little(model)
    target = build(read(dict(mode=mode), CLASSES), seed=5)
    state, report = transfer_prompts(source, target)
    assert (report.matched, report.unmatched) == (('sky', 'ball'), ('volcano',))
    assert report.classifier == 'trained, taken'
    own = [key for key in source.state_dict if key.startswith(NO_OBJECT)]
    assert len(own) == (3 if mode == 'learned_weight' else 2)
    assert own == [key for key in state if key.startswith(NO_OBJECT)]
    assert all(torch.equal(state[key], source.state_dict[key]) for key in own)
    target.load_state_dict(state)
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = (each.decode_head(each.extract_feat(images)) for each in (model, target))
    torch.testing.assert_close(found.mask_logits, expected.mask_logits)
    torch.testing.assert_close(found.class_logits[..., 1:], expected.class_logits[..., [6, 0, 10]])


@pytest.mark.parametrize('part', ['spatial', 'semantic'])
def test_no_object_comes_along_with_either_part(read, part):
    """Both were learned beside it."""
    source = train_a_little(build(read()))
    state = transfer_prompts(source, build(read(LEARNED, CLASSES)), parts=[part])[0]
    learned = f'{NO_OBJECT}learned'
    assert torch.equal(state[learned], source.state_dict[learned])


@pytest.mark.parametrize(('own', 'other'), [(LEARNED, None), (None, LEARNED)])
def test_a_target_that_does_not_learn_it_is_refused_with_the_setting(read, own, other):
    source = train_a_little(build(read(own)))
    with pytest.raises(PromptTransferError) as error:
        transfer_prompts(source, build(read(other, CLASSES)))
    text, learned = str(error.value), 'BaseModelClassifier, no object by learned_weight'
    names = [repr(learned if each else 'BaseModelClassifier') for each in (other, own)]
    assert f'classifier: expected {names[0]}, found {names[1]}' in text
    assert 'the classifier' in text.partition('\nUse ')[2]


def test_the_command(read, tmp_path, capsys):
    model = build(read())
    source = train_a_little(model)
    torch.save(dict(meta={}, state_dict=source.state_dict), tmp_path / 'a.pth')
    classes = ('lake', 'sky', 'ball')
    target = read(LEARNED, classes)
    for split in ('train', 'val', 'test'):
        target[f'{split}_dataloader'].dataset.metainfo = dict(classes=classes)
    target.dump(tmp_path / 'target.py')
    out = tmp_path / 'b.pth'
    run_here('prompts transfer', tmp_path / 'a.pth', tmp_path / 'target.py', '--out', out)
    assert 'classifier: trained, taken' in capsys.readouterr().out
    loaded = build(target, seed=7)
    loaded.load_state_dict(torch.load(out, weights_only=True)['state_dict'])
    for name in ('learned', 'weight_logit'):
        own = loaded.state_dict()[f'{SEMANTIC}{name}']
        assert torch.equal(own, source.state_dict[f'{SEMANTIC}{name}'][[8, 6, 0]])
        key = f'{NO_OBJECT}{name}'
        assert torch.equal(loaded.state_dict()[key], source.state_dict[key])
