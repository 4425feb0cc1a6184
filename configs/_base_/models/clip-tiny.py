# The miniature's own CLIP.
clip = dict(variant='tiny', checkpoint='mmseg_ssprompt://clip-pair-tiny_shapes.pth')
clip_encoder = dict(clip, type='CLIPImageEncoder', image_size=96)
region_classifier = dict(clip, type='CLIPRegionClassifier')
