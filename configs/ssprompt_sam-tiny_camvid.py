# CamVid with sam-tiny, whose weights come with the package:
#     python tools/train.py configs/ssprompt_sam-tiny_camvid.py
_base_ = [
    './_base_/models/ssprompt_sam-tiny.py',
    './_base_/datasets/camvid_96x96.py',
    './_base_/schedules/schedule_300.py',
    './_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(
        num_classes=11,
        spatial_prompts=dict(extent=(1.0, 0.75)),  # images of 4:3 are padded below
        semantic_prompts=dict(class_names={{_base_.classes}}),
    )
)
randomness = dict(seed=0)
