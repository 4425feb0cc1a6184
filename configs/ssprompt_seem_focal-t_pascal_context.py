# SEEM Focal-T on Pascal Context:
#     python tools/train.py configs/ssprompt_seem_focal-t_pascal_context.py
# The class "background" starts as SEEM's text of "no object", see docs/seem.md.
_base_ = [
    './_base_/models/ssprompt_seem.py',
    './_base_/datasets/pascal_context_1024x1024.py',
    './_base_/pipelines/seem_800x1333.py',
    './_base_/schedules/schedule_40k.py',
    './_base_/default_runtime.py',
]
train_dataloader = dict(dataset=dict(pipeline=_base_.seem_train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.seem_test_pipeline))
test_dataloader = val_dataloader
tta_pipeline = _base_.seem_tta_pipeline
model = dict(
    decode_head=dict(num_classes=60, semantic_prompts=dict(dataset='PascalContextDataset'))
)
