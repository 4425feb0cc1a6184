# python tools/train.py configs/ablations/token_sam-clip-tiny_shapes.py
# Labels by SAM's mask tokens, in the text space of the miniature's CLIP.
_base_ = ['../ssprompt_sam-tiny_shapes.py', '../_base_/models/clip-tiny.py']

projection = 'mmseg_ssprompt://projection-clip-pair-tiny_shapes.pth'
model = dict(
    weights=dict(clip={{_base_.clip_weights}}),
    decode_head=dict(
        semantic_prompts=dict(text_encoder={{_base_.clip}}),
        classifier=dict(checkpoint=projection),
    ),
)
