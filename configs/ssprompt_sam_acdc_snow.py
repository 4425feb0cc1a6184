# SAM ViT-B on ACDC, snow alone:
#     python tools/train.py configs/ssprompt_sam_acdc_snow.py
_base_ = ['./ssprompt_sam_acdc.py']

snow = dict(dataset=dict(conditions=['snow']))
train_dataloader = snow
val_dataloader = snow
test_dataloader = snow
