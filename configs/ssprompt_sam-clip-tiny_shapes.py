# The miniature's CLIP labels sam-tiny's masks:
#     python tools/train.py configs/ssprompt_sam-clip-tiny_shapes.py
_base_ = ['./ssprompt_sam-tiny_shapes.py', './_base_/models/clip-tiny.py']

model = dict(
    weights=dict(clip=_base_.clip_weights),
    backbone=dict(_base_.both_encoders, sam=_base_.model.backbone),
    decode_head=dict(
        semantic_prompts=dict(text_encoder=_base_.clip),
        classifier=_base_.region_classifier,
    ),
)
