# SEEM SAM-ViT-L on Cityscapes:
#     python tools/train.py configs/ssprompt_seem_sam-vit-l_cityscapes.py
_base_ = ['./ssprompt_seem_sam-vit-b_cityscapes.py']

seem = dict(variant='sam_vit_l')
model = dict(
    weights=dict(seem='weights/seem_samvitl_v1.pt'),
    backbone=seem,
    decode_head=dict(segmenter=seem, semantic_prompts=dict(text_encoder=seem)),
)
