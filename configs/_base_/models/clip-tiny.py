# The miniature's own CLIP.
clip_weights = 'mmseg_ssprompt://clip-pair-tiny_shapes.pth'
clip = dict(variant='tiny')
clip_encoder = dict(clip, type='CLIPImageEncoder', image_size=96)
# In the place of sam-tiny's classifier, whose projection it has no use for.
region_classifier = dict(clip, _delete_=True, type='CLIPRegionClassifier')
