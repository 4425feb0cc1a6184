# CLIP's image encoder labels SAM's masks:
#     python tools/train.py configs/ssprompt_sam-clip_ade20k.py
_base_ = ['./ssprompt_sam_ade20k.py', './_base_/models/clip_vit-b16.py']

model = dict(
    backbone=dict(_base_.both_encoders, sam=_base_.model.backbone),
    decode_head=dict(classifier=_base_.region_classifier),
)
