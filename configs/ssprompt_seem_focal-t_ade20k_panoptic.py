# SEEM Focal-T on ADE20K, things and stuff:
#     python tools/train.py configs/ssprompt_seem_focal-t_ade20k_panoptic.py
_base_ = [
    './_base_/models/ssprompt_seem.py',
    './_base_/datasets/ade20k_panoptic_1024x1024.py',
    './_base_/pipelines/seem_segments_640x2560.py',
    './_base_/schedules/schedule_40k.py',
    './_base_/default_runtime.py',
]
train_dataloader = dict(dataset=dict(pipeline=_base_.seem_train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.seem_test_pipeline))
test_dataloader = val_dataloader
tta_pipeline = _base_.seem_tta_pipeline
model = dict(
    decode_head=dict(num_classes=150, semantic_prompts=dict(dataset='ADE20KPanopticDataset')),
    test_cfg=dict(outputs=('panoptic',)),
)
