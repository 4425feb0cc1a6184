# SAM ViT-B on Cityscapes, things and stuff:
#     python tools/train.py configs/ssprompt_sam_cityscapes_panoptic.py
_base_ = [
    './_base_/models/ssprompt_sam_vit-b.py',
    './_base_/datasets/cityscapes_panoptic_1024x1024.py',
    './_base_/schedules/schedule_40k.py',
    './_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(
        num_classes=19,
        spatial_prompts=dict(extent=(1.0, 0.5)),  # images of 2:1 are padded below
        semantic_prompts=dict(dataset='CityscapesPanopticDataset'),
    ),
    test_cfg=dict(outputs=('panoptic',)),
)
