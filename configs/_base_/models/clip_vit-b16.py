# CLIP's image encoder and its last block, of the same file as the text encoder.
clip = dict(variant='ViT-B/16')
clip_encoder = dict(clip, type='CLIPImageEncoder', image_size=512)
region_classifier = dict(clip, type='CLIPRegionClassifier')
