"""Images and labels: sources, archives, sampling, preprocessing, augmentation, the loader."""
