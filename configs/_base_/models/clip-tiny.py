# The image and the text encoder of the miniature's own CLIP.
clip_file = dict(variant='tiny', checkpoint='mmseg_ssprompt://clip-pair-tiny_shapes.pth')
clip = dict(clip_file, type='CLIPImageEncoder', image_size=96)
