# SAM ViT-L on ADE20K:
#     python tools/train.py configs/ssprompt_sam_ade20k_vit-l.py
_base_ = ['./ssprompt_sam_ade20k.py']

sam = dict(variant='vit_l')
model = dict(
    weights=dict(sam='weights/sam_vit_l_0b3195.pth'),
    backbone=sam,
    decode_head=dict(segmenter=sam),
)
