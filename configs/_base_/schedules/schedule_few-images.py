# 600 iterations, for tens of images: validated often, and the best is kept.
_base_ = ['./schedule_40k.py']

optim_wrapper = dict(optimizer=dict(lr=1e-2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=30, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=30, end=600, by_epoch=False),
]
train_cfg = dict(max_iters=600, val_interval=50)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=50, max_keep_ckpts=1))
