"""Data sets from a user's own files: tables, arrays, folders of images, Hugging Face data sets. It registers none by itself."""
