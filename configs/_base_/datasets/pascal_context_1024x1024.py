# Pascal Context with background as a class (60 classes) in mmseg's layout (data/VOCdevkit/VOC2010),
# seen as SAM sees images: the longest side becomes 1024 pixels and the rest is padded by the data
# preprocessor.
_base_ = ['../pipelines/semantic_1024.py']

dataset_type = 'PascalContextDataset'
data_root = 'data/VOCdevkit/VOC2010'
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext'),
        ann_file='ImageSets/SegmentationContext/train.txt',
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext'),
        ann_file='ImageSets/SegmentationContext/val.txt',
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
