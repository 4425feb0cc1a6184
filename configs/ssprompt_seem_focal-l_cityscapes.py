# SEEM Focal-L on Cityscapes:
#     python tools/train.py configs/ssprompt_seem_focal-l_cityscapes.py
_base_ = ['./ssprompt_seem_focal-t_cityscapes.py']

seem = dict(variant='focal_l')
model = dict(
    weights=dict(seem='weights/seem_focall_v1.pt'),
    backbone=seem,
    decode_head=dict(segmenter=seem, semantic_prompts=dict(text_encoder=seem)),
)
