# SSPrompt with seem-tiny on ShapesWorld, which `make demo BASE=seem` trains:
#     python tools/train.py configs/ssprompt_seem-tiny_shapes.py
_base_ = [
    './_base_/models/ssprompt_seem-tiny.py',
    './_base_/datasets/shapes_96x96.py',
    './_base_/pipelines/seem_128.py',
    './_base_/schedules/schedule_300.py',
    './_base_/default_runtime.py',
]
train_dataloader = dict(dataset=dict(pipeline=_base_.seem_train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.seem_test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=_base_.seem_test_pipeline))
tta_pipeline = _base_.seem_tta_pipeline
model = dict(decode_head=dict(num_classes=10, semantic_prompts=dict(dataset='ShapesWorldDataset')))
randomness = dict(seed=0)
