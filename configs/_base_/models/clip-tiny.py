# The miniature's own CLIP, beside sam-tiny.
clip_weights = 'mmseg_ssprompt://clip-pair-tiny_shapes.pth'
clip = dict(variant='tiny')
clip_encoder = dict(clip, type='CLIPImageEncoder', image_size=96)
both_encoders = dict(_delete_=True, type='SAMCLIPImageEncoder', clip=clip_encoder)
# In the place of sam-tiny's classifier, whose projection it has no use for.
region_classifier = dict(clip, _delete_=True, type='CLIPRegionClassifier')
