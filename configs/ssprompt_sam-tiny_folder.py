# sam-tiny, whose weights come with the package, on photographs of your own: tries a data set
# on a laptop (docs/own_data.md):
#     python tools/train.py configs/ssprompt_sam-tiny_folder.py
_base_ = [
    './_base_/models/ssprompt_sam-tiny.py',
    './_base_/datasets/folder_96x96.py',
    './_base_/schedules/schedule_few-images.py',
    './_base_/default_runtime.py',
]
model = dict(decode_head=dict(semantic_prompts=dict(class_names={{_base_.classes}})))
randomness = dict(seed=0)
