# CamVid (11 classes) in mmseg's folder layout, at the size of sam-tiny:
#     data/camvid/{img_dir,ann_dir}/{train,val}/*.png
# Label ids are those of the classes below; 255 is void.
_base_ = ['../pipelines/semantic_96.py']

dataset_type = 'BaseSegDataset'
data_root = 'data/camvid'
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
    palette=[
        [128, 128, 128],
        [128, 0, 0],
        [192, 192, 128],
        [128, 64, 128],
        [60, 40, 222],
        [128, 128, 0],
        [192, 128, 128],
        [64, 64, 128],
        [64, 0, 128],
        [64, 64, 0],
        [0, 128, 192],
    ],
)
train_pipeline = [t for t in _base_.train_pipeline if t['type'] != 'PhotoMetricDistortion']
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        img_suffix='.png',
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        img_suffix='.png',
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='GroupedIoUMetric')
test_evaluator = val_evaluator
