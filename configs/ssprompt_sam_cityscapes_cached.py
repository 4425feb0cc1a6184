# Embed the images once, each training image in four views, then train without images and without
# the image encoder:
#     mmseg-ssprompt cache configs/ssprompt_sam_cityscapes_cached.py
#     python tools/train.py configs/ssprompt_sam_cityscapes_cached.py
_base_ = ['./ssprompt_sam_cityscapes.py']

cache_dir = 'data/embeddings/ssprompt_sam_cityscapes/'
embedded = dict(
    _delete_=True,
    type='EmbeddedDataset',
    encoder={{_base_.model.backbone}},
    data_preprocessor={{_base_.data_preprocessor}},
)
train_dataloader = dict(
    dataset=dict(
        embedded,
        cache_dir=cache_dir + 'train',
        dataset={{_base_.train_dataloader.dataset}},
        views=4,
    )
)
val_dataloader = dict(
    dataset=dict(
        embedded,
        cache_dir=cache_dir + 'val',
        dataset={{_base_.val_dataloader.dataset}},
        test_mode=True,
    )
)
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(_delete_=True, type='EmbeddingPreProcessor'),
    backbone=dict(_delete_=True, type='PrecomputedFeatures', encoder={{_base_.model.backbone}}),
)
