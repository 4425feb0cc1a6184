# SSPrompt with sam-tiny on ShapesWorld, the objects of its things:
#     python tools/train.py configs/ssprompt_sam-tiny_shapes_instance.py
_base_ = [
    './_base_/models/ssprompt_sam-tiny.py',
    './_base_/datasets/shapes_instance_96x96.py',
    './_base_/schedules/schedule_300.py',
    './_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(num_classes=6, semantic_prompts=dict(dataset='ShapesWorldInstanceDataset')),
    test_cfg=dict(outputs=('instances',)),
)
randomness = dict(seed=0)
