# SEEM Focal-T on Pascal Context, 59 classes:
#     python tools/train.py configs/ssprompt_seem_focal-t_pascal_context-59.py
_base_ = [
    './_base_/models/ssprompt_seem.py',
    './_base_/datasets/pascal_context_59_1024x1024.py',
    './_base_/pipelines/seem_800x1333.py',
    './_base_/schedules/schedule_40k.py',
    './_base_/default_runtime.py',
]
train_dataloader = dict(dataset=dict(pipeline=_base_.seem_train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.seem_test_pipeline))
test_dataloader = val_dataloader
tta_pipeline = _base_.seem_tta_pipeline
model = dict(
    decode_head=dict(num_classes=59, semantic_prompts=dict(dataset='PascalContextDataset59'))
)
