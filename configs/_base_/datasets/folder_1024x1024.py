# Photographs and label maps of your own; docs/own_data.md shows what a config adds to this.
#     DATA_ROOT/{images,labels}/{train,val}/**/NAME.SUFFIX
# A label map has the name of its image; its numbers are those of the classes, 255 is ignored.
_base_ = ['../pipelines/semantic_1024.py']

dataset_type = 'ImageFolderDataset'
data_root = 'data/mine'
classes = ('background', 'object')
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        classes=classes,
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        classes=classes,
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='GroupedIoUMetric')
test_evaluator = val_evaluator
