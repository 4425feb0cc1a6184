# The miniature's own CLIP.
clip_weights = 'mmseg_ssprompt://clip-pair-tiny_shapes.pth'
clip = dict(variant='tiny')
clip_encoder = dict(clip, type='CLIPImageEncoder', image_size=96)
region_classifier = dict(clip, type='CLIPRegionClassifier')
