# SAM ViT-B on Mapillary Vistas:
#     python tools/train.py configs/ssprompt_sam_mapillary.py
_base_ = [
    './_base_/models/ssprompt_sam_vit-b.py',
    './_base_/datasets/mapillary_v1_1024x1024.py',
    './_base_/schedules/schedule_40k.py',
    './_base_/default_runtime.py',
]
# Labels of version 1.2: 65 classes and "Unlabeled", which is void here as in the benchmark. Images
# have many aspect ratios, so the grid covers the whole frame.
model = dict(
    decode_head=dict(
        num_classes=65,
        semantic_prompts=dict(dataset='MapillaryDataset_v1', classes={{_base_.classes}}),
    )
)
