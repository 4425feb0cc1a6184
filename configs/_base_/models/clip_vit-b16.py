# CLIP's image encoder beside SAM's, and its last block, of the same file as the text encoder.
clip = dict(variant='ViT-B/16')
clip_encoder = dict(clip, type='CLIPImageEncoder', image_size=512)
both_encoders = dict(_delete_=True, type='SAMCLIPImageEncoder', clip=clip_encoder)
region_classifier = dict(clip, type='CLIPRegionClassifier')
