# CLIP's image encoder, of the same file as the text encoder.
clip = dict(
    type='CLIPImageEncoder', variant='ViT-B/16', checkpoint='weights/ViT-B-16.pt', image_size=512
)
