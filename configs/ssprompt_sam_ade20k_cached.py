# Embed the images once, each training image in four views, then train without images and without
# the image encoder:
#     mmseg-ssprompt cache configs/ssprompt_sam_ade20k_cached.py
#     python tools/train.py configs/ssprompt_sam_ade20k_cached.py
_base_ = ['./ssprompt_sam_ade20k.py', './_base_/cached.py']

cache_dir = 'data/embeddings/ssprompt_sam_ade20k/'
embedded = dict(
    encoder=_base_.model.backbone, data_preprocessor=_base_.data_preprocessor, **_base_.embedded
)
held_out = dict(embedded, test_mode=True)
train_dataloader = dict(
    dataset=dict(
        embedded, cache_dir=cache_dir + 'train', dataset=_base_.train_dataloader.dataset, views=4
    )
)
val_dataloader = dict(
    dataset=dict(held_out, cache_dir=cache_dir + 'val', dataset=_base_.val_dataloader.dataset)
)
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=_base_.embedding_preprocessor,
    backbone=dict(_base_.precomputed, encoder=_base_.model.backbone),
)
