"""Mixed modality: one classifier for images of several modalities and kinds of content, trained in two stages."""
