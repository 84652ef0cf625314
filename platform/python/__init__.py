"""What ``import regbench as rb`` offers. Stands above all other rooms, beside the command line."""
