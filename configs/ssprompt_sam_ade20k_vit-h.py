# SAM ViT-H on ADE20K:
#     python tools/train.py configs/ssprompt_sam_ade20k_vit-h.py
_base_ = ['./ssprompt_sam_ade20k.py']

sam = dict(variant='vit_h')
model = dict(
    weights=dict(sam='weights/sam_vit_h_4b8939.pth'),
    backbone=sam,
    decode_head=dict(segmenter=sam),
)
