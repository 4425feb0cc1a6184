# Embed the scenes once with both encoders, then train without scenes and encoders:
#     mmseg-ssprompt cache configs/ssprompt_sam-clip-tiny_shapes_cached.py
#     python tools/train.py configs/ssprompt_sam-clip-tiny_shapes_cached.py
_base_ = ['./ssprompt_sam-clip-tiny_shapes.py']

cache_dir = 'data/embeddings/ssprompt_sam-clip-tiny_shapes/'
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
test_dataloader = dict(
    dataset=dict(
        embedded,
        cache_dir=cache_dir + 'test',
        dataset={{_base_.test_dataloader.dataset}},
        test_mode=True,
    )
)
model = dict(
    data_preprocessor=dict(_delete_=True, type='EmbeddingPreProcessor'),
    backbone=dict(_delete_=True, type='PrecomputedFeatures', encoder={{_base_.model.backbone}}),
)
