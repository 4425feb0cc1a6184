# SSPrompt with sam-tiny on ShapesWorld, which the demo trains:
#     python tools/train.py configs/ssprompt_sam-tiny_shapes.py
_base_ = [
    './_base_/models/ssprompt_sam-tiny.py',
    './_base_/datasets/shapes_96x96.py',
    './_base_/schedules/schedule_300.py',
    './_base_/default_runtime.py',
]
model = dict(decode_head=dict(num_classes=10, semantic_prompts=dict(dataset='ShapesWorldDataset')))
randomness = dict(seed=0)
