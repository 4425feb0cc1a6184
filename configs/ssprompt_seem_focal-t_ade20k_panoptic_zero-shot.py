# SEEM's own queries and class names, with nothing trained:
#     python tools/test.py configs/ssprompt_seem_focal-t_ade20k_panoptic_zero-shot.py
_base_ = ['./ssprompt_seem_focal-t_ade20k_panoptic.py']

fusion = dict(mode='default_only')
model = dict(
    decode_head=dict(spatial_prompts=dict(fusion=fusion), semantic_prompts=dict(fusion=fusion))
)
