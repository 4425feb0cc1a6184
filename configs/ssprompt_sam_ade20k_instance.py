# SAM ViT-B on ADE20K, the objects of its things:
#     python tools/train.py configs/ssprompt_sam_ade20k_instance.py
_base_ = [
    './_base_/models/ssprompt_sam_vit-b.py',
    './_base_/datasets/ade20k_instance_1024x1024.py',
    './_base_/schedules/schedule_40k.py',
    './_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(
        num_classes=100,
        semantic_prompts=dict(dataset='ADE20KInstanceDataset'),
    ),
    test_cfg=dict(outputs=('instances',)),
)
