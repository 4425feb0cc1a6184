# SAM ViT-B on ACDC, rain alone:
#     python tools/train.py configs/ssprompt_sam_acdc_rain.py
_base_ = ['./ssprompt_sam_acdc.py']

rain = dict(dataset=dict(conditions=['rain']))
train_dataloader = rain
val_dataloader = rain
test_dataloader = rain
