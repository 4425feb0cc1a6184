# SAM ViT-B on ACDC, fog alone:
#     python tools/train.py configs/ssprompt_sam_acdc_fog.py
_base_ = ['./ssprompt_sam_acdc.py']

fog = dict(dataset=dict(conditions=['fog']))
train_dataloader = fog
val_dataloader = fog
test_dataloader = fog
