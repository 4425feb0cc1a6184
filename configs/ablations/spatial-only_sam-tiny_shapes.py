# python tools/train.py configs/ablations/spatial-only_sam-tiny_shapes.py
# SpaPrompt; the class names are handcrafted.
_base_ = ['../ssprompt_sam-tiny_shapes.py']

model = dict(decode_head=dict(semantic_prompts=dict(fusion=dict(mode='default_only'))))
