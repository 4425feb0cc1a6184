# SAM ViT-B on ACDC, night alone:
#     python tools/train.py configs/ssprompt_sam_acdc_night.py
_base_ = ['./ssprompt_sam_acdc.py']

night = dict(dataset=dict(conditions=['night']))
train_dataloader = night
val_dataloader = night
test_dataloader = night
