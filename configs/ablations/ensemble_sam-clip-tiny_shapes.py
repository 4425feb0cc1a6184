# python tools/train.py configs/ablations/ensemble_sam-clip-tiny_shapes.py
# Labels by SAM's mask tokens and by what CLIP sees under the masks, half and half.
_base_ = ['../ssprompt_sam-clip-tiny_shapes.py']

projection = 'mmseg_ssprompt://projection-clip-pair-tiny_shapes.pth'
model = dict(
    decode_head=dict(
        classifier=dict(
            _delete_=True,
            type='EnsembleClassifier',
            token=dict(type='TokenClassifier', checkpoint=projection),
            region=dict(type='CLIPRegionClassifier', variant='tiny'),
            share=0.5,
        )
    )
)
