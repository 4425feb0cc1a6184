# ACDC in the layout of its release (data/acdc, label maps *_gt_labelTrainIds.png), all conditions,
# seen as SAM sees images: the longest side becomes 1024 pixels and the rest is padded by the data
# preprocessor. The labels of the test split are not public, so tests are on the val split.
_base_ = ['../pipelines/semantic_1024.py']

dataset_type = 'ACDCDataset'
data_root = 'data/acdc'
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='train',
        data_prefix=dict(img_path='rgb_anon', seg_map_path='gt'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='val',
        data_prefix=dict(img_path='rgb_anon', seg_map_path='gt'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
