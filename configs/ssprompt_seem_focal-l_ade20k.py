# SEEM Focal-L on ADE20K:
#     python tools/train.py configs/ssprompt_seem_focal-l_ade20k.py
_base_ = ['./ssprompt_seem_focal-t_ade20k.py']

seem = dict(variant='focal_l')
model = dict(
    weights=dict(seem='weights/seem_focall_v1.pt'),
    backbone=seem,
    decode_head=dict(segmenter=seem, semantic_prompts=dict(text_encoder=seem)),
)
