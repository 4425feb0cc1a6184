# seem-tiny on the second downstream world, of small and thin things:
#     python tools/train.py configs/ssprompt_seem-tiny_shapes-coast.py
_base_ = ['./ssprompt_seem-tiny_shapes.py']

dataset = dict(type='ShapesCoastDataset')
model = dict(decode_head=dict(semantic_prompts=dict(dataset=dataset['type'])))
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
