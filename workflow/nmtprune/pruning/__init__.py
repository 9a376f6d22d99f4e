"""Which weights are pruned: weight classes, schemes, groups, masks and slicing; tensors in, tensors out."""
