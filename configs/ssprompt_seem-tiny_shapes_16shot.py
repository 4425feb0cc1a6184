# seem-tiny with 16 scenes for each class, out of 512:
#     python tools/train.py configs/ssprompt_seem-tiny_shapes_16shot.py
# Other draws: --cfg-options
#     train_dataloader.dataset.seed=2 train_dataloader.dataset.shots=4
_base_ = ['./ssprompt_seem-tiny_shapes.py']

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='FewShotDataset',
        dataset=dict(
            type='ShapesWorldDataset',
            split='train',
            num_images=512,
            pipeline={{_base_.seem_train_pipeline}},
        ),
        shots=16,
        seed=1,
    )
)
