"""Short animated clips: frames that are generated from some given ones, in a diffusion model trained under two masks."""
