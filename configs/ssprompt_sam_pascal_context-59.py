# SAM ViT-B on Pascal Context (59 classes):
#     python tools/train.py configs/ssprompt_sam_pascal_context-59.py
_base_ = [
    './_base_/models/ssprompt_sam_vit-b.py',
    './_base_/datasets/pascal_context_59_1024x1024.py',
    './_base_/schedules/schedule_40k.py',
    './_base_/default_runtime.py',
]
# Images have many aspect ratios, so the grid covers the whole frame.
model = dict(
    decode_head=dict(num_classes=59, semantic_prompts=dict(dataset='PascalContextDataset59'))
)
