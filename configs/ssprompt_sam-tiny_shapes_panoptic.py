# SSPrompt with sam-tiny on ShapesWorld, things and stuff:
#     python tools/train.py configs/ssprompt_sam-tiny_shapes_panoptic.py
_base_ = [
    './_base_/models/ssprompt_sam-tiny.py',
    './_base_/datasets/shapes_panoptic_96x96.py',
    './_base_/schedules/schedule_300.py',
    './_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(num_classes=10, semantic_prompts=dict(dataset='ShapesWorldDataset')),
    test_cfg=dict(outputs=('panoptic',)),
)
randomness = dict(seed=0)
