# ADE20K in mmseg's layout (data/ade/ADEChallengeData2016), the objects of its 100 things, from the
# challenge's annotations_instance. AP needs faster-coco-eval or pycocotools.
_base_ = ['../pipelines/segments_1024.py']

dataset_type = 'ADE20KInstanceDataset'
data_root = 'data/ade/ADEChallengeData2016'
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations_instance/training'),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(
            img_path='images/validation', seg_map_path='annotations_instance/validation'
        ),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='InstanceMetric')
test_evaluator = val_evaluator
