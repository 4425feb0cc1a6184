# SAM ViT-B on photographs of your own (docs/own_data.md); tens of images will do:
#     python tools/train.py configs/ssprompt_sam_folder.py
_base_ = [
    './_base_/models/ssprompt_sam_vit-b.py',
    './_base_/datasets/folder_1024x1024.py',
    './_base_/schedules/schedule_few-images.py',
    './_base_/default_runtime.py',
]
model = dict(decode_head=dict(semantic_prompts=dict(class_names={{_base_.classes}})))
randomness = dict(seed=0)
