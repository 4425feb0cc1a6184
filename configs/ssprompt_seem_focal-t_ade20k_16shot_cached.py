# Embed the 16 images for each class once, each in one view, then train without images and without
# the image encoder. An embedded image is large: read "Disk" in docs/cache.md first.
#     mmseg-ssprompt cache configs/ssprompt_seem_focal-t_ade20k_16shot_cached.py
#     python tools/train.py configs/ssprompt_seem_focal-t_ade20k_16shot_cached.py
_base_ = ['./ssprompt_seem_focal-t_ade20k_16shot.py', './_base_/cached.py']

cache_dir = 'data/embeddings/ssprompt_seem_focal-t_ade20k_16shot/'
embedded = dict(
    encoder=_base_.model.backbone, data_preprocessor=_base_.data_preprocessor, **_base_.embedded
)
held_out = dict(embedded, test_mode=True)
train_dataloader = dict(
    dataset=dict(embedded, cache_dir=cache_dir + 'train', dataset=_base_.train_dataloader.dataset)
)
val_dataloader = dict(
    dataset=dict(held_out, cache_dir=cache_dir + 'val', dataset=_base_.val_dataloader.dataset)
)
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=_base_.embedding_preprocessor,
    backbone=dict(_base_.precomputed, encoder=_base_.model.backbone),
)
