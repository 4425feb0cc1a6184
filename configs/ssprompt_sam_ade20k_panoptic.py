# SAM ViT-B on ADE20K, things and stuff:
#     python tools/train.py configs/ssprompt_sam_ade20k_panoptic.py
_base_ = [
    './_base_/models/ssprompt_sam_vit-b.py',
    './_base_/datasets/ade20k_panoptic_1024x1024.py',
    './_base_/schedules/schedule_40k.py',
    './_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(
        num_classes=150,
        semantic_prompts=dict(dataset='ADE20KPanopticDataset'),
    ),
    test_cfg=dict(outputs=('panoptic',)),
)
