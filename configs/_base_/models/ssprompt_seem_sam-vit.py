# SSPrompt on SEEM SAM-ViT-B, whose frame has one size.
_base_ = ['./ssprompt_seem.py']

seem = dict(variant='sam_vit_b')
input_size = (1024, 1024)
data_preprocessor = dict(
    _delete_=True,
    type='SegDataPreProcessor',
    mean=_base_.data_preprocessor.mean,
    std=_base_.data_preprocessor.std,
    bgr_to_rgb=True,
    size=input_size,
    pad_val=0,
    test_cfg=dict(size=input_size),
)
model = dict(
    weights=dict(seem='weights/seem_samvitb_v1.pt'),
    data_preprocessor=data_preprocessor,
    backbone=seem,
    decode_head=dict(segmenter=seem, semantic_prompts=dict(text_encoder=seem)),
)
