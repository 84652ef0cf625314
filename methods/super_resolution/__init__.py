"""Images in high resolution from low resolution, by networks of few bits, judged by quality and by what they cost."""
