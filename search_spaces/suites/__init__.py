"""Ready-made suites, one YAML file each."""
