# BDD100K in mmseg's layout (data/bdd100k; the 10k images, and masks of Cityscapes' 19 train ids),
# seen as SAM sees images: the longest side becomes 1024 pixels and the rest is padded by the data
# preprocessor.
_base_ = ['../pipelines/semantic_1024.py']

dataset_type = 'BDD100KDataset'
data_root = 'data/bdd100k'
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/10k/train', seg_map_path='labels/sem_seg/masks/train'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/10k/val', seg_map_path='labels/sem_seg/masks/val'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
