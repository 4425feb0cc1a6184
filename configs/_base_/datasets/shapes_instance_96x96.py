# The objects of ShapesWorld's things. AP needs faster-coco-eval or pycocotools.
_base_ = ['./shapes_panoptic_96x96.py']

dataset_type = 'ShapesWorldInstanceDataset'
train_dataloader = dict(dataset=dict(type=dataset_type))
val_dataloader = dict(dataset=dict(type=dataset_type))
test_dataloader = dict(dataset=dict(type=dataset_type))
val_evaluator = dict(type='InstanceMetric')
test_evaluator = val_evaluator
