# SSPrompt with seem-tiny on ShapesWorld, the objects of its things:
#     python tools/train.py configs/ssprompt_seem-tiny_shapes_instance.py
_base_ = [
    './_base_/models/ssprompt_seem-tiny.py',
    './_base_/datasets/shapes_instance_96x96.py',
    './_base_/pipelines/seem_segments_128.py',
    './_base_/schedules/schedule_300.py',
    './_base_/default_runtime.py',
]
train_dataloader = dict(dataset=dict(pipeline=_base_.seem_train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.seem_test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=_base_.seem_test_pipeline))
tta_pipeline = _base_.seem_tta_pipeline
model = dict(
    decode_head=dict(num_classes=6, semantic_prompts=dict(dataset='ShapesWorldInstanceDataset')),
    test_cfg=dict(outputs=('instances',)),
)
randomness = dict(seed=0)
