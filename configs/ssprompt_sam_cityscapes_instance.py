# SAM ViT-B on Cityscapes, the objects of its things:
#     python tools/train.py configs/ssprompt_sam_cityscapes_instance.py
_base_ = [
    './_base_/models/ssprompt_sam_vit-b.py',
    './_base_/datasets/cityscapes_instance_1024x1024.py',
    './_base_/schedules/schedule_40k.py',
    './_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(
        num_classes=8,
        spatial_prompts=dict(extent=(1.0, 0.5)),  # images of 2:1 are padded below
        semantic_prompts=dict(dataset='CityscapesInstanceDataset'),
    ),
    test_cfg=dict(outputs=('instances',)),
)
