# SEEM SAM-ViT-B on ADE20K:
#     python tools/train.py configs/ssprompt_seem_sam-vit-b_ade20k.py
_base_ = [
    './_base_/models/ssprompt_seem_sam-vit.py',
    './_base_/datasets/ade20k_1024x1024.py',
    './_base_/pipelines/seem_1000x1024.py',
    './_base_/schedules/schedule_40k.py',
    './_base_/default_runtime.py',
]
train_dataloader = dict(dataset=dict(pipeline=_base_.seem_train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.seem_test_pipeline))
test_dataloader = val_dataloader
tta_pipeline = _base_.seem_tta_pipeline
model = dict(decode_head=dict(num_classes=150, semantic_prompts=dict(dataset='ADE20KDataset')))
