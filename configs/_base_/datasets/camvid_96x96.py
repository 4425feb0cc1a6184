# CamVid (11 classes) as SegNet arranged it, at the size of sam-tiny:
#     data/CamVid/{train,trainannot,val,valannot,test,testannot}/*.png
# In the label maps 11 is void, which becomes 255.
_base_ = ['../pipelines/semantic_96.py']

dataset_type = 'CamVidDataset'
data_root = 'data/CamVid'
# All classes but the last, "void".
classes = (
    'sky',
    'building',
    'pole',
    'road',
    'pavement',
    'tree',
    'sign symbol',
    'fence',
    'car',
    'pedestrian',
    'bicyclist',
)
metainfo = dict(
    classes=classes,
    thing_classes=('pole', 'sign symbol', 'car', 'pedestrian', 'bicyclist'),
    stuff_classes=('sky', 'building', 'road', 'pavement', 'tree', 'fence'),
)
train_pipeline = [t for t in _base_.train_pipeline if t['type'] != 'PhotoMetricDistortion']
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        data_prefix=dict(img_path='train', seg_map_path='trainannot'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        data_prefix=dict(img_path='val', seg_map_path='valannot'),
    ),
)
test_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        data_prefix=dict(img_path='test', seg_map_path='testannot'),
    ),
)
val_evaluator = dict(type='GroupedIoUMetric')
test_evaluator = val_evaluator
