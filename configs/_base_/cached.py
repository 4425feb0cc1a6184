# What a config that trains on cached embeddings puts in the place of its images and encoders.
embedded = dict(_delete_=True, type='EmbeddedDataset')
embedding_preprocessor = dict(_delete_=True, type='EmbeddingPreProcessor')
precomputed = dict(_delete_=True, type='PrecomputedFeatures')
