# SEEM DaViT-d3 on Cityscapes:
#     python tools/train.py configs/ssprompt_seem_davit-d3_cityscapes.py
# No file of it is published, so you need one of your own; and it needs timm:
#     pip install ".[seem]"
_base_ = ['./ssprompt_seem_focal-t_cityscapes.py']

seem = dict(variant='davit_d3')
model = dict(
    weights=dict(seem='weights/seem_davitd3_v1.pt'),
    backbone=seem,
    decode_head=dict(segmenter=seem, semantic_prompts=dict(text_encoder=seem)),
)
